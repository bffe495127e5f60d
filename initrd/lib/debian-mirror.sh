# shellcheck shell=bash
# Sourced: sets mirror and security_mirror, the Debian archives to fetch from: $CVM_DEBIAN_MIRROR, else the one that the host's apt
# uses on Debian, else the default of the host's debootstrap. This file names no host.
mirror=${CVM_DEBIAN_MIRROR:-}
apt_site() { # LABEL
  # shellcheck disable=SC2016 # apt expands $(SITE)
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Label: $1" 2> /dev/null | sed -n 's|/*$||; /^https\?:/p' | head -n 1
}
[ -n "$mirror" ] || mirror=$(apt_site Debian)
if [ -z "$mirror" ]; then
  if [ ! -x /usr/sbin/debootstrap ]; then
    sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
    { "${sudo[@]}" apt-get update && "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends debootstrap; } >&2 || true
  fi
  mirror=$(grep -ohE 'https?://[a-z.]+/debian\b' /usr/sbin/debootstrap | head -n 1 || true)
fi
[ -n "$mirror" ] || { echo "debian-mirror: neither apt nor debootstrap names a Debian mirror: set CVM_DEBIAN_MIRROR to its URL" >&2; exit 1; }
security_mirror=${CVM_DEBIAN_SECURITY_MIRROR:-$(apt_site Debian-Security)}
export security_mirror=${security_mirror:-$mirror-security}
