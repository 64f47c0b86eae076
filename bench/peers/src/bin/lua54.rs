//! The peers, with Lua 5.4.

fn main() -> std::process::ExitCode {
    smtp_fallback_peers::main()
}
