//! An answer through Weft is the answer of the upstream, apart from its number, its TTLs and what belongs to one hop.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cases;
mod malformed;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use cases::Case;
use netlab::Lab;
use netlab::services::{Denial, Named};
use weft_e2e::Setup;
use weft_e2e::dns::{AUTHORITY, DOH, ForeignDoh, bind, resolve};

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);
/// Two zones that the DoH server asks about, and one that a fallback suffix leads to.
const ZONES: [(&str, Denial); 3] =
    [("nsec.example", Denial::Nsec), ("nsec3.example", Denial::Nsec3), ("ldf.example", Denial::Nsec)];

/// A device whose upstream is somebody else's DoH server, and whose fallback resolver is BIND.
struct World {
    setup: Setup,
    doh: ForeignDoh,
    _named: Named,
}

impl World {
    fn new(
        lab: &Lab,
        mode: &str,
        server: fn(&Lab, &netlab::Topology, &[String]) -> Result<ForeignDoh>,
    ) -> Result<Self> {
        let profile = format!(
            r#"{{"service_mode_v2": {{"mode": "{mode}"}},
                 "fallback_domains": [{{"suffix": "ldf.example", "dns_server": ["{AUTHORITY}"]}}]}}"#
        );
        let mut setup = Setup::new(lab, &profile)?;
        let zones = ZONES.map(|(name, denial)| zone::zone(name, denial));
        let (_, named) = bind(lab, &setup.topology, &zones)?;
        let doh = server(lab, &setup.topology, named.trust_anchors())?;
        setup.device.register(&setup.gateway)?;
        setup.device.use_doh(&doh)?;
        setup.device.connect()?;
        Ok(Self { setup, doh, _named: named })
    }

    /// Asks the upstream, and then Weft twice; the second answer is out of Weft's cache where it may be kept.
    fn compare(&self, upstream: Ipv4Addr, case: &Case) -> Result<()> {
        let direct = resolve(&self.doh.host, (upstream, 53).into(), &case.query).context("directly")?;
        anyhow::ensure!((case.fits)(&direct), "the upstream's answer is not of this kind: {direct:?}");
        for time in ["first", "second"] {
            let through = resolve(self.setup.device.host(), PROXY, &case.query);
            let through = through.with_context(|| format!("the {time} time"))?;
            let (wanted, given) = (direct.essence(), through.essence());
            anyhow::ensure!(wanted == given, "the {time} time\nupstream: {wanted:?}\n    Weft: {given:?}");
        }
        Ok(())
    }

    fn compare_all(&self, upstream: Ipv4Addr, cases: &[Case]) {
        let wrong = |case: &Case| {
            let error = self.compare(upstream, case).err()?;
            Some(format!("{}: {error:#}", case.about))
        };
        let wrong = cases.iter().filter_map(wrong).collect::<Vec<_>>();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

fn every_case(zone: &str) -> Vec<Case> {
    let groups = [cases::types, cases::names, cases::sizes, cases::extensions, cases::dnssec];
    groups.into_iter().flat_map(|group| group(zone)).collect()
}

#[test]
fn answers_by_doh_inside_the_tunnel_are_unbounds() {
    netlab::run(|lab| {
        let world = World::new(lab, "warp", ForeignDoh::unbound)?;
        world.compare_all(DOH, &every_case("nsec.example"));
        world.compare_all(DOH, &cases::dnssec("nsec3.example"));
        world.compare_all(DOH, &cases::names("nsec3.example"));
        world.compare_all(DOH, &cases::server("nsec.example"));
        Ok(())
    });
}

#[test]
fn answers_by_doh_outside_the_tunnel_are_dnsdists() {
    netlab::run(|lab| {
        let world = World::new(lab, "1dot1", |lab, topology, _| ForeignDoh::dnsdist(lab, topology))?;
        world.compare_all(DOH, &every_case("nsec.example"));
        Ok(())
    });
}

#[test]
fn answers_to_a_fallback_suffix_are_binds() {
    netlab::run(|lab| {
        let world = World::new(lab, "warp", ForeignDoh::unbound)?;
        world.compare_all(AUTHORITY, &every_case("ldf.example"));
        Ok(())
    });
}

#[test]
fn what_is_malformed_is_answered_as_unbound_answers_it() {
    netlab::run(|lab| {
        let world = World::new(lab, "warp", ForeignDoh::unbound)?;
        malformed::compare(&world)
    });
}
