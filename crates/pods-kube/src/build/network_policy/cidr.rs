//! Networks like `10.0.0.0/8`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Deserialize;

/// An address and how many of its leading bits count; the others are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u32,
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no network like 10.0.0.0/8 or fd00::/8; bits behind the prefix must be zero")]
pub struct CidrError(String);

impl Cidr {
    /// Whether an address is in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && leading(address, self.prefix) == leading(self.address, self.prefix)
    }

    /// Whether the network is larger than `other` and contains it.
    pub fn is_around(self, other: Self) -> bool {
        self.prefix < other.prefix && self.contains(other.address)
    }

    /// Whether every address of its kind is in it.
    pub fn is_everything(self) -> bool {
        self.prefix == 0
    }
}

/// The first bits of an address, as a number.
fn leading(address: IpAddr, bits: u32) -> u128 {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), u32::BITS),
        IpAddr::V6(address) => (address.to_bits(), u128::BITS),
    };
    // Nothing is left of 128 bits that are shifted by 128.
    number.checked_shr(width - bits).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let digits = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_digit());
            let prefix: u32 = prefix.parse().ok().filter(|_| digits)?;
            let width = if address.is_ipv4() { u32::BITS } else { u128::BITS };
            let whole = leading(address, width);
            let is_network = prefix <= width && {
                let rest = width - prefix;
                leading(address, prefix).checked_shl(rest).unwrap_or(0) == whole
            };
            is_network.then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| CidrError(text.chars().take(60).collect()))
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_have_an_address_and_a_prefix() {
        for good in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fe80::1/128"] {
            assert_eq!(cidr(good).to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "fd00::1/8", "a/8", "/8"]
        {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_contain_addresses_of_their_kind() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(cidr("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(!cidr("10.0.0.0/8").contains(address("11.0.0.0")));
        assert!(cidr("0.0.0.0/0").contains(address("203.0.113.1")));
        assert!(!cidr("0.0.0.0/0").contains(address("::1")));
        assert!(cidr("::/0").contains(address("2001:db8::1")));
        assert!(cidr("10.1.2.3/32").contains(address("10.1.2.3")));
        assert!(!cidr("10.1.2.3/32").contains(address("10.1.2.2")));
        assert!(cidr("0.0.0.0/0").is_around(cidr("169.254.0.0/16")));
        assert!(!cidr("10.0.0.0/8").is_around(cidr("10.0.0.0/8")));
        assert!(!cidr("10.0.0.0/16").is_around(cidr("10.0.0.0/8")));
        assert!(!cidr("::/0").is_around(cidr("10.0.0.0/8")));
    }
}
