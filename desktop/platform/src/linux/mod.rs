//! Linux: netlink, nftables, /dev/net/tun, /etc/resolv.conf.
