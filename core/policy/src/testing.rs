//! Registrations and profiles for this crate's tests.

use weft_model::{
    ApiEndpoint, CheckEndpoints, DnsUpstream, DohEndpoint, Gateway, PrivateKey, Profile, PublicKey,
    Registration, RegistrationSource, TunnelEndpoint,
};

pub(crate) fn profile(json: &str) -> Profile {
    Profile::from_json(json).unwrap()
}

fn endpoint() -> TunnelEndpoint {
    TunnelEndpoint {
        public_key: PublicKey::from([1; 32]),
        preshared_key: None,
        addresses: vec!["203.0.113.10".parse().unwrap()],
        ports: vec![2408, 500],
        keepalive: None,
        mtu: None,
        allowed_ips: Vec::new(),
    }
}

/// A device of a gateway at 203.0.113.10 (tunnel) and 203.0.113.11 (API), with an address of each family.
pub(crate) fn orchestrated() -> Registration {
    let api = "203.0.113.11:443".parse().unwrap();
    let doh = DohEndpoint {
        name: "gateway.example".to_owned(),
        path: "/dns-query".to_owned(),
        inside: "172.64.128.1:443".parse().unwrap(),
        outside: vec![api],
        ca_pem: None,
    };
    let gateway = Gateway {
        api: Some(ApiEndpoint { name: "gateway.example".to_owned(), addresses: vec![api], ca_pem: None }),
        tunnel: endpoint(),
        dns: DnsUpstream::Doh(doh),
        checks: Some(CheckEndpoints { inside: "172.64.128.1:80".parse().unwrap(), outside: vec![api] }),
    };
    Registration {
        id: "device".to_owned(),
        source: RegistrationSource::Orchestrated,
        token: Some("token".to_owned().into()),
        private_key: PrivateKey::from([2; 32]),
        addresses: vec!["172.16.0.2/32".parse().unwrap(), "2606:4700:cf1:1000::2/128".parse().unwrap()],
        gateways: vec![gateway],
    }
}

/// A wg-quick file's registration: 10.8.0.2/24, resolver 10.8.0.1, search domain office.example.
pub(crate) fn imported(allowed_ips: &[&str]) -> Registration {
    let allowed_ips = allowed_ips.iter().map(|text| text.parse().unwrap()).collect();
    let gateway = Gateway {
        api: None,
        tunnel: TunnelEndpoint { allowed_ips, ports: vec![51820], ..endpoint() },
        dns: DnsUpstream::Plain {
            servers: vec!["10.8.0.1".parse().unwrap()],
            search: vec!["office.example".parse().unwrap()],
        },
        checks: None,
    };
    Registration {
        id: "wg".to_owned(),
        source: RegistrationSource::Imported,
        token: None,
        private_key: PrivateKey::from([2; 32]),
        addresses: vec!["10.8.0.2/24".parse().unwrap()],
        gateways: vec![gateway],
    }
}
