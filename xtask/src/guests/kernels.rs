//! Kernels for guests: Debian's cloud packages, downloaded through apt and unpacked into a cache, never installed.
//!
//! The system's own releases are asked first; a kernel that they do not have is looked for in all of Debian's. From 7.2 on a kernel is
//! in two packages, `linux-binary-*` and `linux-modules-*`, which go into one folder called `linux-image-*`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::Apt;

/// A kernel that is unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What users call it, such as `6.1`.
    pub(super) series: String,
    /// Where its package is unpacked.
    folder: PathBuf,
}

/// Modules that tests use, each after those it needs. One that a kernel does not have is left out.
const MODULES: &[&str] = &[
    "libcrc32c",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "veth",
    "dummy",
    "tun",
    "sch_ingress",
    "cls_bpf",
    "cls_u32",
    "configfs",
    "null_blk",
];

/// The kernels on offer, the newest of each series, oldest first; those in the cache if there are any. With `series`, only that one.
///
/// # Errors
///
/// If a package that is on offer cannot be downloaded or unpacked.
pub(super) fn all(cache: &Path, series: Option<&str>) -> Result<Vec<Kernel>, String> {
    fs::create_dir_all(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let is_enough = |names: &[String]| {
        let mut chosen = newest_of_each(names).into_iter();
        chosen.any(|(each, _)| series.is_none_or(|wanted| wanted == each))
    };
    let mut apt = Apt::default();
    let mut names = cached(cache);
    if !is_enough(&names) {
        names.extend(offered(&apt));
    }
    if series.is_some() && !is_enough(&names) {
        apt = Apt::of_debian(cache)?;
        names.extend(offered(&apt));
    }
    let chosen = newest_of_each(&names);
    let wanted = chosen
        .into_iter()
        .filter(|(each, _)| series.is_none_or(|wanted| wanted == each));
    wanted
        .map(|(series, package)| unpacked(&apt, cache, series, &package))
        .collect()
}

impl Kernel {
    /// The file that a machine starts.
    pub(super) fn image(&self) -> Result<PathBuf, String> {
        // From 7.2 on the file lies beside the modules.
        find(&self.folder, &|name| {
            name.starts_with("vmlinuz-") || name == "vmlinuz"
        })
        .ok_or_else(|| format!("{} has no vmlinuz", self.folder.display()))
    }

    /// The modules that tests use, in the order in which they are loaded.
    pub(super) fn modules(&self) -> Vec<PathBuf> {
        let file_of = |module: &&str| {
            find(&self.folder, &|name| {
                let end = name.strip_prefix(*module);
                end.is_some_and(|end| matches!(end, ".ko" | ".ko.xz"))
            })
        };
        MODULES.iter().filter_map(file_of).collect()
    }

    /// The configuration it was built with.
    pub(super) fn configuration(&self) -> Option<PathBuf> {
        find(&self.folder, &|name| {
            name.starts_with("config-") || name == "config"
        })
    }
}

/// The first file under `folder` whose name is wanted.
fn find(folder: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    for entry in entries {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            if let Some(found) = find(&path, is_wanted) {
                return Some(found);
            }
        } else if is_wanted(&entry.file_name().to_string_lossy()) {
            return Some(path);
        }
    }
    None
}

/// Names of packages that are unpacked in the cache already.
fn cached(cache: &Path) -> Vec<String> {
    let entries = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| series_of(name).is_some()).collect()
}

/// Names of packages that apt knows; none where there is no apt.
fn offered(apt: &Apt) -> Vec<String> {
    let pattern = "^linux-image-[0-9].*-cloud-amd64$";
    let text = apt.asked(&["search", "--names-only", pattern]);
    let first_words = text.lines().filter_map(|line| line.split(' ').next());
    first_words
        .filter(|name| series_of(name).is_some())
        .map(str::to_owned)
        .collect()
}

/// `6.12` of `linux-image-6.12.117+deb12-cloud-amd64`; `None` for packages that only name another (`linux-image-6.12-cloud-amd64`).
fn series_of(package: &str) -> Option<String> {
    let numbers = numbers_of(package)?;
    match numbers[..] {
        [major, minor, _, ..] => Some(format!("{major}.{minor}")),
        _ => None,
    }
}

/// The numbers in a package's name, by which the newer one is told.
fn numbers_of(package: &str) -> Option<Vec<u64>> {
    let version = package
        .strip_prefix("linux-image-")?
        .strip_suffix("-cloud-amd64")?;
    let parts = version.split(|c: char| !c.is_ascii_digit());
    Some(parts.filter_map(|digits| digits.parse().ok()).collect())
}

fn newest_of_each(names: &[String]) -> Vec<(String, String)> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_by_key(|name| numbers_of(name));
    let mut newest: Vec<(String, String)> = Vec::new();
    for name in sorted {
        let Some(series) = series_of(name) else {
            continue;
        };
        newest.retain(|(each, _)| *each != series);
        newest.push((series, name.clone()));
    }
    newest
}

fn unpacked(apt: &Apt, cache: &Path, series: String, package: &str) -> Result<Kernel, String> {
    let folder = cache.join(package);
    if !folder.exists() {
        let download = tempfile::tempdir_in(cache).map_err(|error| format!("a folder: {error}"))?;
        let whole = download.path().join("unpacked");
        for part in parts(apt, package) {
            let mut get = apt.command("apt-get");
            get.args(["download", "-qq", &part])
                .current_dir(download.path());
            super::succeed(get, &part)?;
            let is_part = |name: &str| name.starts_with(&part) && name.ends_with(".deb");
            let file = find(download.path(), &is_part)
                .ok_or_else(|| format!("{part}: apt downloaded nothing"))?;
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("-x").arg(file).arg(&whole);
            super::succeed(dpkg, &part)?;
        }
        // What is in the cache is whole.
        fs::rename(&whole, &folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(Kernel { series, folder })
}

/// The packages that hold the kernel: from 7.2 on `linux-image-...` is empty and names two others.
fn parts(apt: &Apt, package: &str) -> Vec<String> {
    let text = apt.asked(&["show", package]);
    let others = ["linux-binary-", "linux-modules-"].map(|prefix| {
        let rest = package.strip_prefix("linux-image-").unwrap_or(package);
        format!("{prefix}{rest}")
    });
    match others.iter().all(|other| text.contains(other.as_str())) {
        true => others.to_vec(),
        false => vec![package.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_each_series_is_chosen() {
        let names = [
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(str::to_owned);
        let chosen = newest_of_each(&names);
        let expected = [
            ("6.1", "linux-image-6.1.0-56-cloud-amd64"),
            ("6.12", "linux-image-6.12.117+deb12-cloud-amd64"),
        ];
        assert_eq!(chosen, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
