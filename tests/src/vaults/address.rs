//! The addresses of a set of vaults, and the kernel arguments that name them.

use vault_node::NodeHandle;

use encoding::hex::encode as hex;

use super::Vaults;
use crate::forward::{self, Redirect};
use crate::{Context, Failure};
use std::net::SocketAddr;

impl Vaults {
    /// Forwards the address of the node at `index` to the node at `other`.
    ///
    /// # Errors
    /// The forward does not start.
    pub fn forwarding_node(mut self, index: usize, other: usize) -> Result<Self, Failure> {
        let relay = forward::to(self.node(other)?.addr()).context("starting a forward")?;
        if let Some(address) = self.addresses.get_mut(index) {
            *address = relay;
        }
        Ok(self)
    }

    /// Forwards every address to the node of `others` at the same place, until `redirect` redirects it.
    ///
    /// # Errors
    /// A forward does not start.
    pub(crate) fn forwarded_to(mut self, others: &Self, redirect: &Redirect) -> Result<Self, Failure> {
        for (index, address) in self.addresses.iter_mut().enumerate() {
            let own = self.nodes.get(index).map(NodeHandle::addr).ok_or_else(|| Failure(format!("there is no vault {index}")))?;
            *address = forward::until(redirect, others.node(index)?.addr(), own).context("starting a forward")?;
        }
        Ok(self)
    }

    /// Replaces the address of the node at `index`; `name` gets the port.
    #[must_use]
    pub fn with_address(mut self, index: usize, name: impl FnOnce(u16) -> String) -> Self {
        if let (Some(called), Some(address)) = (self.address_overrides.get_mut(index), self.addresses.get(index)) {
            *called = Some(name(address.port()));
        }
        self
    }

    /// Forwards IPv6 ports to every node and the cache, and gives the guest their addresses in QEMU's user network.
    ///
    /// # Errors
    /// A forward does not start.
    pub fn over_ipv6(mut self) -> Result<Self, Failure> {
        for index in 0..self.nodes.len() {
            let relay = forward::from("[::1]:0", self.node(index)?.addr()).context("starting a forward on ::1")?;
            self = self.with_address(index, |_| format!("[fec0::2]:{}", relay.port()));
        }
        if let Some((place, cache)) = &mut self.cache {
            let relay = forward::from("[::1]:0", cache.address).context("starting a forward on ::1")?;
            *place = format!("[fec0::2]:{}", relay.port());
        }
        Ok(self)
    }

    /// Forwards these ports of the loopback to the nodes, for images that contain their addresses.
    ///
    /// # Errors
    /// A port is in use.
    pub(crate) fn listening_at(self, ports: &[u16]) -> Result<Self, Failure> {
        for (node, port) in self.nodes.iter().zip(ports) {
            forward::from(&format!("127.0.0.1:{port}"), node.addr()).context("listening at the ports of the image's vaults")?;
        }
        Ok(self)
    }

    /// The address of the node at `index` in the guest.
    ///
    /// # Errors
    /// There is no such node.
    pub(crate) fn address_in_guest(&self, index: usize) -> Result<String, Failure> {
        let address = self.addresses.get(index).ok_or_else(|| Failure(format!("there is no vault {index}")))?;
        Ok(format!("{}:{}", qemu::HOST_IN_GUEST, address.port()))
    }

    /// The kernel arguments for these vaults.
    #[must_use]
    pub fn cmdline(&self) -> Vec<String> {
        let mut cmdline = vec![
            format!("cvm.vault={}", self.guest_addresses()),
            format!("cvm.vault.mrenclave={}", hex(&self.mrenclave)),
            format!("cvm.vault.handle={}", self.handle),
            format!("cvm.vault.threshold={}", self.threshold),
            "cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff".to_owned(),
        ];
        let commitment = if self.committed { hex(&self.key.commitment()) } else { "none".to_owned() };
        cmdline.push(format!("cvm.vault.key-commitment={commitment}"));
        cmdline.extend(self.cache.iter().map(|(place, cache)| format!("cvm.pccs={}://{place}", cache.scheme)));
        if let Some((handle, key)) = &self.previous {
            cmdline.push(format!("cvm.vault.previous={handle}"));
            cmdline.push(format!("cvm.vault.previous.key-commitment={}", hex(&key.commitment())));
        }
        if let Some(before) = &self.before {
            cmdline.push(format!("cvm.vault.previous={}", before.handle));
            cmdline.push(format!("cvm.vault.previous.key-commitment={}", hex(&before.key.commitment())));
            cmdline.push(format!("cvm.vault.previous.vaults={}", before.guest_addresses()));
            cmdline.push(format!("cvm.vault.previous.mrenclave={}", hex(&before.mrenclave)));
            cmdline.push(format!("cvm.vault.previous.threshold={}", before.threshold));
        }
        cmdline
    }

    /// The nodes' addresses in the guest, separated by commas.
    fn guest_addresses(&self) -> String {
        let host = qemu::HOST_IN_GUEST;
        let usual = |address: &SocketAddr| format!("{host}:{}", address.port());
        let places =
            self.addresses.iter().zip(&self.address_overrides).map(|(at, called)| called.clone().unwrap_or_else(|| usual(at)));
        places.collect::<Vec<_>>().join(",")
    }
}
