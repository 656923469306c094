//! Random programs, more than tests have time for: the vm's compiler beside its interpreter, and the vm beside the running kernel.

use std::process::Command;

/// What is compared: the package and its test, the part of that test, how many programs for each of 1,000 asked for, and at least how many.
struct Campaign {
    package: &'static str,
    test: &'static str,
    part: &'static str,
    of_thousand: u64,
    least: u64,
}

const CAMPAIGNS: &[Campaign] = &[
    // The compiler in all its forms and the interpreter.
    Campaign {
        package: "twinbpf-vm",
        test: "suite",
        part: "random",
        of_thousand: 1000,
        least: 20_000,
    },
    // Arithmetic, memory and jumps in the kernel.
    Campaign {
        package: "twinbpf",
        test: "boundaries",
        part: "random",
        of_thousand: 20,
        least: 1000,
    },
    // Sequences of helpers that change packets, in the kernel.
    Campaign {
        package: "twinbpf",
        test: "test_runs",
        part: "sequences",
        of_thousand: 10,
        least: 1000,
    },
];

/// Runs them all, on programs that `first` and the numbers after it make. The tests say what they do.
///
/// # Errors
///
/// Which campaign found a difference; its test says which program it was.
pub(crate) fn run(count: u64, first: u64) -> Result<String, String> {
    let mut summary = String::new();
    for campaign in CAMPAIGNS {
        let programs = (count / 1000 * campaign.of_thousand).max(campaign.least);
        let what = format!(
            "{} of {}: {programs} programs from {first} on",
            campaign.part, campaign.test
        );
        let status = Command::new("cargo")
            .args(["test", "--release", "--locked", "--package"])
            .args([campaign.package, "--test", campaign.test, campaign.part])
            .env("TWINBPF_RANDOM", format!("{first}:{programs}"))
            .env("TWINBPF_REQUIRE", "kernel")
            .status()
            .map_err(|error| format!("cargo cannot be started: {error}"))?;
        if !status.success() {
            return Err(format!("{what}: not all of them agree"));
        }
        summary += &what;
        summary += ": no difference\n";
    }
    Ok(summary)
}
