//! The program `chartmesh`, as the scenarios run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    chartmesh::main()
}
