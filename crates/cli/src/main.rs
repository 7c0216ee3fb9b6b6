//! The program `chartmesh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    chartmesh::main()
}
