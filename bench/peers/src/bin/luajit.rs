//! The peers, with LuaJIT.

fn main() -> std::process::ExitCode {
    smtp_fallback_peers::main()
}
