# shellcheck shell=bash
# Sourced, with $top set: exports SOURCE_DATE_EPOCH, the time that every file in an image has and the lower bound of the clock in its
# initrd. Default: the time of the last commit that changed an input of the images, so that other commits leave the images unchanged.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git -C "${top:?}" log -1 --format=%ct -- Cargo.toml Cargo.lock init initrd ':!initrd/xtask' mkosi.conf.d 2> /dev/null || true)
  [ -n "$SOURCE_DATE_EPOCH" ] || { echo "epoch: git has no commit to take the time from: set SOURCE_DATE_EPOCH to Unix seconds" >&2; exit 1; }
fi
export SOURCE_DATE_EPOCH
