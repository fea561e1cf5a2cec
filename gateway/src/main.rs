//! weft-gateway: tunnel endpoint, DoH resolver, device orchestration API and store.

fn main() -> std::process::ExitCode {
    weft_gateway::cli::main()
}
