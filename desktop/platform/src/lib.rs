//! What a desktop system is asked for: TUN devices, routes, DNS settings, firewall, network monitor.
