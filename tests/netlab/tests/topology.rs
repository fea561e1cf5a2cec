//! The standard topology with its servers, and what programs of the system see of them.
use anyhow::Result;
use netlab::topology::{DEVICE, DEVICE_V6, GATEWAY, LAN, UPLINK, WEB, WEB_V6};
use netlab::{AAAA, Behaviour, Record, Topology};

#[test]
fn each_server_sees_the_address_that_the_route_gives() {
    netlab::run(|lab| {
        let net = Topology::standard(lab)?;
        let page = |url: &str| -> Result<String> {
            Ok(net.device.run(["curl", "-sS", "--max-time", "10", url])?.stdout)
        };
        assert_eq!(page("http://web.example/")?, format!("you are {UPLINK}\n"));
        assert_eq!(page("http://www.example:8080/x")?, format!("you are {UPLINK}\n"));
        assert_eq!(page("http://[2001:db8:113::80]/")?, "you are 2001:db8:113::1\n");
        // Between addresses of fd00::/8 IPv6 is preferred, from one of them to the internet IPv4 is.
        assert_eq!(page("http://printer.lan/")?, format!("you are {DEVICE_V6}\n"));
        assert_eq!(page(&format!("http://{LAN}/"))?, format!("you are {DEVICE}\n"));
        assert_eq!(page("http://web.example/bytes/100000")?.len(), 100_000);
        let requests = net.web_server.requests();
        assert_eq!(requests[1].path, "/x");
        assert_eq!((requests[1].port, requests[1].host.as_str()), (8080, "www.example:8080"));
        assert_eq!(net.lan_web.requests()[1].client, DEVICE);
        // The lan's resolver has asked in its own name.
        assert!(net.web_dns.queries().iter().all(|query| query.client == UPLINK));
        assert!(net.lan_dns.queries().iter().all(|query| query.client == DEVICE));
        assert_eq!(net.web_dns.count("printer.lan"), 0);
        Ok(())
    });
}

#[test]
fn dns_answers_dig_and_getent() {
    netlab::run(|lab| {
        let net = Topology::standard(lab)?;
        let dig = |words: &[&str]| -> Result<String> {
            let fixed = ["dig", "+time=3", "+tries=1"];
            Ok(net.gateway.run(fixed.iter().chain(words))?.stdout)
        };
        assert_eq!(dig(&["+short", "web.example"])?, format!("{WEB}\n"));
        assert_eq!(dig(&["+short", "+tcp", "WEB.example", "AAAA"])?, format!("{WEB_V6}\n"));
        assert_eq!(dig(&["+short", "www.example"])?, format!("web.example.\n{WEB}\n"));
        assert!(dig(&["none.example"])?.contains("NXDOMAIN"));
        let empty = dig(&["web.example", "TXT"])?;
        assert!(empty.contains("NOERROR") && empty.contains("SOA"), "{empty}");
        net.web_dns.add("long.example", Record::Txt("x".repeat(250)));
        for _ in 0..9 {
            net.web_dns.add("long.example", Record::Txt("y".repeat(250)));
        }
        assert!(dig(&["long.example", "TXT"])?.contains("(TCP)"));
        let long = net.web_dns.queries().into_iter().filter(|query| query.name == "long.example");
        assert_eq!(long.map(|query| query.tcp).collect::<Vec<_>>(), [false, true]);
        let hosts = net.gateway.run(["getent", "ahostsv4", "www.example"])?.stdout;
        assert!(hosts.starts_with(&WEB.to_string()), "{hosts}");
        assert!(net.web_dns.queries().iter().any(|query| query.kind == AAAA && query.client == GATEWAY));
        net.web_dns.set_behaviour(Behaviour::Fail);
        assert!(dig(&["web.example"])?.contains("SERVFAIL"));
        net.web_dns.set_behaviour(Behaviour::Silent);
        assert!(net.gateway.attempt(["dig", "+time=1", "+tries=1", "web.example"])?.status.code() == Some(9));
        Ok(())
    });
}

#[test]
fn a_second_device_is_another_host_of_the_lan() {
    netlab::run(|lab| {
        let net = Topology::standard(lab)?;
        let second = net.add_device("second", 11)?;
        second.run(["curl", "-sS", "--max-time", "10", &format!("http://{LAN}/")])?;
        net.device.run(["ping", "-c1", "-W5", "192.168.50.11"])?;
        assert_eq!(net.lan_web.requests()[0].client, std::net::Ipv4Addr::new(192, 168, 50, 11));
        Ok(())
    });
}

#[test]
fn nothing_crosses_the_router_that_is_not_translated() {
    netlab::run(|lab| {
        let net = Topology::standard(lab)?;
        let (wan, eth0) = (net.router.capture("wan")?, net.device.capture("eth0")?);
        net.device.run(["ping", "-c2", "-i0.2", "-W5", &WEB.to_string()])?;
        wan.settle()?;
        eth0.settle()?;
        assert_eq!(wan.count(|seen| seen.is_from(UPLINK) && seen.is_to(WEB)), 2, "{wan}");
        assert_eq!(wan.count(|seen| seen.is_from(DEVICE) || seen.is_to(DEVICE)), 0, "{wan}");
        assert_eq!(eth0.count(|seen| seen.is_from(DEVICE) && seen.is_to(WEB) && seen.outgoing), 2, "{eth0}");
        Ok(())
    });
}

#[test]
fn tun_devices_and_nft_tables_can_be_made() {
    netlab::run(|lab| {
        let host = lab.host("one").strict_rp_filter().build()?;
        host.nft(
            "table inet t {
                set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16 } }
                set timed { type ipv6_addr; flags timeout; }
                chain output { type filter hook output priority 0; ip daddr @s reject; }
            }",
        )?;
        assert!(host.run(["nft", "list", "tables"])?.stdout.contains("table inet t"));
        host.run(["ip", "rule", "add", "not", "fwmark", "0x100cf", "table", "65743"])?;
        lab.require_tun()?;
        host.sh(
            "ip tuntap add dev weft0 mode tun; ip address add 172.16.0.2/32 dev weft0; ip link set weft0 up",
        )?;
        let capture = host.capture("weft0")?;
        assert!(host.sh("ip link show weft0")?.stdout.contains("weft0"));
        drop(capture);
        Ok(())
    });
}
