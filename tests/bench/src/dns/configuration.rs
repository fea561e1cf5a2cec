//! How each peer is told to listen, whom to ask, to keep 100,000 answers at least, and to use one thread.

use anyhow::{Result, bail};
use netlab::{Host, Process};

use super::cores::Cores;
use super::field::{CA_FILE, DOH_PORT, UPSTREAM};
use super::proxy::Proxy;

/// Starts one that is not ours.
///
/// # Errors
///
/// When its program is not there or does not start.
pub(crate) fn start(proxy: Proxy, host: &Host, cores: Cores) -> Result<Process> {
    let folder = format!("/run/{proxy}");
    let file = format!("{folder}/configuration");
    host.write_file(&file, text(proxy, &folder))?;
    let mut command = cores.proxy_command(host, proxy.program()?);
    command.args(arguments(proxy, &folder, &file)?).env("GOMAXPROCS", "1").env("SSL_CERT_FILE", CA_FILE);
    host.spawn(command)
}

fn text(proxy: Proxy, folder: &str) -> String {
    let port = proxy.at().port();
    match proxy {
        // 1.7 compares certificates with names alone, and the upstream's is for an address.
        Proxy::Dnsdist => format!(
            "setSecurityPollSuffix('')\nsetLocal('127.0.0.1:{port}')\nsetOutgoingDoHWorkerThreads(1)\n\
             newServer({{address='{UPSTREAM}:{DOH_PORT}', tls='openssl', subjectName='{UPSTREAM}', \
             dohPath='/dns-query', caStore='{CA_FILE}', validateCertificates=false}}):setUp()\n\
             getPool(''):setCache(newPacketCache(100000, {{maxTTL=86400, numberOfShards=1}}))\n"
        ),
        Proxy::Unbound => format!(
            "server:\n directory: \"{folder}\"\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n use-syslog: no\n \
             do-daemonize: no\n interface: 127.0.0.1@{port}\n num-threads: 1\n module-config: \"iterator\"\n \
             msg-cache-size: 64m\n rrset-cache-size: 128m\n outgoing-range: 4096\n num-queries-per-thread: 2048\n\
             forward-zone:\n name: \".\"\n forward-addr: {UPSTREAM}@53\n"
        ),
        Proxy::Kresd => format!(
            "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})\ncache.open(200 * MB, 'lmdb://{folder}/cache')\n\
             trust_anchors.remove('.')\n\
             for _, name in ipairs({{'ta_update', 'ta_signal_query', 'priming', 'detect_time_skew'}}) do \
             modules.unload(name) end\n\
             policy.add(policy.all(policy.STUB('{UPSTREAM}')))\n"
        ),
        Proxy::Smartdns => format!(
            "bind 127.0.0.1:{port}\nserver {UPSTREAM}\ncache-size 100000\ncache-persist no\nprefetch-domain no\n\
             serve-expired no\nspeed-check-mode none\ndualstack-ip-selection no\nlog-level error\n\
             log-file {folder}/log\n"
        ),
        Proxy::Hickory => format!(
            "listen_addrs_ipv4 = [\"127.0.0.1\"]\nlisten_port = {port}\nuser = \"root\"\n\
             group = \"root\"\n\n[[zones]]\nzone = \".\"\n\
             zone_type = \"External\"\n\n[zones.stores]\ntype = \"forward\"\n\
             name_servers = [{{ ip = \"{UPSTREAM}\", connections = [{{ port = {DOH_PORT}, protocol = \
             {{ type = \"https\", server_name = \"{UPSTREAM}\", path = \"/dns-query\" }} }}] }}]\n\
             options = {{ cache_size = 100000, max_active_requests = 1024 }}\n"
        ),
        Proxy::Weft | Proxy::Dnsmasq | Proxy::Dnss => String::new(),
    }
}

fn arguments(proxy: Proxy, folder: &str, file: &str) -> Result<Vec<String>> {
    let port = proxy.at().port();
    let line = match proxy {
        Proxy::Dnsdist => format!("--supervised --disable-syslog --config {file}"),
        Proxy::Unbound => format!("-d -c {file}"),
        Proxy::Kresd => format!("--noninteractive --config {file} {folder}"),
        Proxy::Dnsmasq => format!(
            "--keep-in-foreground --conf-file={file} --user=root --pid-file= --no-resolv --no-hosts --port={port} \
             --listen-address=127.0.0.1 --bind-interfaces --server={UPSTREAM} --cache-size=100000 \
             --cache-rr=HTTPS --dns-forward-max=5000"
        ),
        Proxy::Smartdns => format!("-f -c {file} -p {folder}/pid"),
        Proxy::Hickory => format!("--config {file} --zonedir {folder} --quiet"),
        Proxy::Dnss => format!(
            "-dns_listen_addr 127.0.0.1:{port} -enable_dns_to_https -https_client_cafile {CA_FILE} \
             -https_upstream https://{UPSTREAM}:{DOH_PORT}/dns-query -fallback_upstream {UPSTREAM}:53"
        ),
        Proxy::Weft => bail!("weftd has its configuration from its gateway"),
    };
    Ok(line.split_whitespace().map(str::to_owned).collect())
}
