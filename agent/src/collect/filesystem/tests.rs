use super::*;
use crate::collect::tests::{Tree, by_key, pass};
use proptest::prelude::*;
use std::process::Command;

/// A mount that no other hides: it stands on a mount of its own.
fn line(device: &str, root: &str, point: &str, fs_type: &str) -> String {
    let id: u32 = point.bytes().map(u32::from).sum();
    format!("{id} {} {device} {root} {point} rw,relatime - {fs_type} source_{device} rw\n", id + 1_000_000)
}

fn selected(text: &str, network: NetworkMounts) -> Vec<String> {
    let mounts = select(mounts::parse(text.as_bytes()).expect("well formed"), network);
    mounts.into_iter().map(|mount| mount.point.display().to_string()).collect()
}

#[test]
fn file_systems_of_the_kernel_and_of_the_network_are_left_out() {
    let text = [
        line("0:1", "/", "/proc", "proc"),
        line("0:2", "/", "/sys/fs/cgroup", "tmpfs"),
        line("0:3", "/", "/dev", "devtmpfs"),
        line("0:4", "/", "/dev/shm", "tmpfs"),
        line("0:5", "/", "/misc", "autofs"),
        line("0:6", "/", "/run/secrets/kubernetes.io/serviceaccount", "tmpfs"),
        line("0:7", "/", "/share", "nfs4"),
        line("0:8", "/", "/remote", "fuse.sshfs"),
        line("0:9", "/", "/tmp", "tmpfs"),
        line("254:0", "/", "/", "ext4"),
        line("0:10", "/", "/merged", "overlay"),
        line("0:11", "/", "/windows", "fuseblk"),
        line("0:12", "/", "/cluster", "beegfs"),
        line("0:13", "/", "/served", "fuse"),
    ]
    .concat();
    assert_eq!(selected(&text, NetworkMounts::Skip), ["/", "/dev/shm", "/merged", "/tmp", "/windows"]);
    let with_network = selected(&text, NetworkMounts::Include);
    assert_eq!(
        with_network,
        ["/", "/cluster", "/dev/shm", "/merged", "/remote", "/served", "/share", "/tmp", "/windows"]
    );
    assert!(!with_network.contains(&"/misc".to_owned()), "an automount is never looked at");
}

#[test]
fn a_file_system_is_reported_once_where_it_is_seen_best() {
    let text = [
        line("254:1", "/var/lib/x/hosts", "/etc/hosts", "ext4"),
        line("254:0", "/var/lib/x/hosts", "/h", "ext4"),
        line("254:0", "/", "/host/root", "ext4"),
        line("254:0", "/data", "/d", "ext4"),
        line("0:9", "/a", "/bind/long", "xfs"),
        line("0:9", "/b", "/bind/b", "xfs"),
    ]
    .concat();
    assert_eq!(selected(&text, NetworkMounts::Skip), ["/bind/b", "/host/root"]);
}

#[test]
fn a_later_mount_at_the_same_point_hides_the_earlier() {
    let text = [line("8:1", "/", "/mnt", "ext4"), line("0:7", "/", "/mnt", "nfs")].concat();
    assert!(selected(&text, NetworkMounts::Skip).is_empty(), "asking for /mnt would ask the NFS server");
}

#[test]
fn a_mount_whose_path_is_no_label_is_left_out() {
    for name in ["x".repeat(2000), "nul\\000".into()] {
        let text = line("8:1", "/", &format!("/{name}"), "ext4");
        assert!(selected(&text, NetworkMounts::Skip).is_empty(), "{name}");
    }
}

/// Two directories as mount points, as far as the source can tell.
fn tree() -> (Tree, String, String) {
    let tree = Tree::new(&[("a/file", ""), ("b b/file", "")]);
    let point = |name: &str| tree.path().join(name).display().to_string();
    let (a, b) = (point("a"), point("b\\040b"));
    tree.write("self/mountinfo", [line("8:1", "/", &a, "ext4"), line("8:2", "/", &b, "ext4")].concat());
    (tree, a, b.replace("\\040", " "))
}

fn points(table: &Table) -> Vec<String> {
    let of_size = by_key(table).into_keys().filter(|key| key.starts_with("system_filesystem_size_bytes"));
    of_size.map(|key| key.split('"').nth_back(1).expect("a label").to_owned()).collect()
}

#[test]
fn mounts_that_come_and_go_change_the_series_and_nothing_else_does() {
    let (tree, a, b) = tree();
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    for _ in 0..2 {
        pass(&mut source, &mut table, 0).expect("two directories");
        assert_eq!(points(&table), [a.clone(), b.clone()]);
        assert_eq!(table.generation(), 1);
    }
    tree.write("self/mountinfo", line("8:1", "/", &a, "ext4"));
    pass(&mut source, &mut table, 0).expect("one directory");
    assert_eq!((points(&table), table.generation()), (vec![a], 2));
}

#[test]
fn a_mount_point_that_vanished_is_stale_and_no_failure() {
    let (tree, a, _) = tree();
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("two directories");
    tree.remove("b b");
    pass(&mut source, &mut table, 0).expect("the other is there");
    assert_eq!(points(&table), [a]);
}

#[test]
fn a_malformed_list_of_mounts_is_named_and_the_next_good_one_is_taken() {
    let (tree, ..) = tree();
    let good = std::fs::read(tree.path().join("self/mountinfo")).expect("it is there");
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("it was well before");
    for _ in 0..2 {
        tree.write("self/mountinfo", "1 2 3 4");
        let error = pass(&mut source, &mut table, 0).expect_err("refused");
        assert!(error.to_string().contains("mountinfo is malformed"), "{error}");
    }
    tree.write("self/mountinfo", &good);
    pass(&mut source, &mut table, 0).expect("it is well again");
    assert_eq!(points(&table).len(), 2);
}

#[test]
fn file_systems_beyond_the_limit_are_counted() {
    let tree = Tree::new(&[]);
    let mut text = String::new();
    for index in 0..FILESYSTEMS_MAX + 2 {
        let point = tree.path().join(index.to_string());
        std::fs::create_dir(&point).expect("it is writable");
        text += &line(&format!("8:{index}"), "/", &point.display().to_string(), "ext4");
    }
    tree.write("self/mountinfo", text);
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("directories");
    assert_eq!(points(&table).len(), FILESYSTEMS_MAX);
    assert_eq!(by_key(&table)["system_filesystems_unreported{reason=\"limit\"}"], 2.0);
}

#[test]
fn overlays_of_containers_push_out_no_real_disk() {
    let containers = |place: &str, fs_type: &str| {
        (0..200)
            .map(|index| line(&format!("0:{index}"), "/", &format!("{place}/{index}/merged"), fs_type))
            .collect::<String>()
    };
    let text = [
        line("0:900", "/", "/", "overlay"),
        containers("/run/containerd/io.containerd.runtime.v2.task/k8s.io", "overlay"),
        containers("/var/lib/kubelet/pods", "tmpfs"),
        line("8:1", "/", "/var/lib/docker", "ext4"),
        line("0:901", "/", "/data/merged", "overlay"),
    ];
    assert_eq!(selected(&text.concat(), NetworkMounts::Skip), ["/", "/data/merged", "/var/lib/docker"]);
}

#[test]
fn beyond_the_limit_real_devices_are_kept_before_others() {
    let tree = Tree::new(&[]);
    let mut text = String::new();
    for index in 0..FILESYSTEMS_MAX + 2 {
        let (device, name) =
            if index == 0 { ("8:1".into(), "z".into()) } else { (format!("0:{index}"), index.to_string()) };
        let point = tree.path().join(name);
        std::fs::create_dir(&point).expect("it is writable");
        text += &line(&device, "/", &point.display().to_string(), "overlay");
    }
    tree.write("self/mountinfo", text);
    let mut table = Table::default();
    pass(&mut Filesystem::new(tree.path(), NetworkMounts::Skip), &mut table, 0).expect("directories");
    let disk = tree.path().join("z").display().to_string();
    assert!(points(&table).contains(&disk), "the last by name, the first by kind");
    assert_eq!(points(&table).len(), FILESYSTEMS_MAX);
}

#[test]
fn a_mount_under_a_later_mount_is_not_told_with_the_later_ones_figures() {
    let text =
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /a/b rw - ext4 /dev/b rw\n3 1 8:3 / /a rw - ext4 /dev/c rw\n";
    assert_eq!(selected(text, NetworkMounts::Skip), ["/", "/a"]);
}

#[test]
fn a_file_system_that_refuses_is_counted_and_noted_and_no_failure() {
    let (tree, a, refusing) = tree();
    let refuses_b = |point: &Path| if point.ends_with("b b") { Err(Errno::ACCESS) } else { rustix::fs::statvfs(point) };
    let mut source = Filesystem::asking(tree.path(), NetworkMounts::Skip, refuses_b);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("the other answers");
    assert_eq!(points(&table), std::slice::from_ref(&a));
    assert_eq!(by_key(&table)["system_filesystems_unreported{reason=\"permission\"}"], 1.0);
    let notes = source.notes();
    let problem =
        |path: &str| notes.iter().find(|note| note.path == Path::new(path)).expect("it is asked").problem.clone();
    assert_eq!(problem(&a), None);
    assert!(problem(&refusing).is_some_and(|text| text.contains("Permission denied")));
}

#[test]
fn the_real_file_systems_have_the_size_and_the_space_that_df_says() {
    let mut source = Filesystem::new(Path::new("/proc"), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("this is Linux");
    let values = by_key(&table);
    let value = |metric: &str, point: &str| {
        let end = format!("mountpoint=\"{point}\"}}");
        values.iter().find(|(key, _)| key.starts_with(metric) && key.ends_with(&end)).map(|(_, value)| *value)
    };
    let Ok(output) = Command::new("df").args(["-B1", "--output=size,avail,fstype,target"]).env("LC_ALL", "C").output()
    else {
        return;
    };
    let mut compared = 0;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [size, available, fs_type, point] = fields[..] else { continue };
        let Some(told) = value("system_filesystem_size_bytes", point) else { continue };
        assert_eq!(size.parse(), Ok(told), "{line}");
        let (available, ours) =
            (available.parse::<f64>().expect("a number"), value("system_filesystem_available_bytes", point));
        // Others write to it meanwhile.
        assert!(ours.is_some_and(|ours| (ours - available).abs() < told / 20.0 + 1e9), "{fs_type} {line}: {ours:?}");
        compared += 1;
    }
    let is_root_listed = text.lines().any(|line| line.ends_with(" /") && !line.contains("fuse"));
    assert!(compared > 0 || !is_root_listed, "nothing to compare in {text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_list_of_mounts_makes_a_pass_panic(content: Vec<u8>) {
        let tree = Tree::new(&[]);
        tree.write("self/mountinfo", content);
        let _ = pass(&mut Filesystem::new(tree.path(), NetworkMounts::Skip), &mut Table::default(), 0);
    }
}

#[test]
fn in_a_pod_its_own_root_and_its_volumes_are_left() {
    let text = [
        line("0:266", "/", "/", "overlay"),
        line("0:270", "/", "/proc", "proc"),
        line("0:271", "/", "/dev", "tmpfs"),
        line("0:272", "/", "/dev/pts", "devpts"),
        line("0:204", "/", "/dev/shm", "tmpfs"),
        line("0:205", "/", "/dev/mqueue", "mqueue"),
        line("0:280", "/", "/sys", "sysfs"),
        line("0:28", "/kubepods/pod1", "/sys/fs/cgroup", "cgroup2"),
        line("259:1", "/var/lib/kubelet/pods/1/etc-hosts", "/etc/hosts", "ext4"),
        line("259:1", "/var/lib/kubelet/pods/1/containers/agent/1", "/dev/termination-log", "ext4"),
        line("259:1", "/var/lib/containerd/sandboxes/1/hostname", "/etc/hostname", "ext4"),
        line("259:1", "/var/lib/containerd/sandboxes/1/resolv.conf", "/etc/resolv.conf", "ext4"),
        line("259:1", "/var/lib/kubelet/pods/1/volumes/empty-dir/spool", "/var/lib/monitoring", "ext4"),
        line("0:200", "/", "/run/secrets/kubernetes.io/serviceaccount", "tmpfs"),
        line("0:270", "/bus", "/proc/bus", "proc"),
        line("0:300", "/", "/proc/acpi", "tmpfs"),
    ]
    .concat();
    assert_eq!(selected(&text, NetworkMounts::Skip), ["/", "/dev/shm", "/var/lib/monitoring"]);
}

#[test]
fn a_read_only_file_system_says_so_and_no_value_is_negative() {
    let mut source = Filesystem::new(Path::new("/proc"), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("this is Linux");
    for (series, value) in by_key(&table) {
        assert!(value >= 0.0, "{series} {value}");
        assert!(!series.contains("_readonly") || value == 0.0 || value == 1.0, "{series} {value}");
    }
}

#[test]
fn a_list_of_mounts_cut_at_any_byte_is_survived() {
    let (tree, ..) = tree();
    let good = std::fs::read(tree.path().join("self/mountinfo")).expect("it is there");
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    for end in 0..good.len() {
        tree.write("self/mountinfo", &good[..end]);
        let _ = pass(&mut source, &mut table, 0);
        assert_eq!(table.values().len(), table.definitions().len());
    }
    tree.write("self/mountinfo", &good);
    pass(&mut source, &mut table, 0).expect("it is whole");
    assert_eq!(points(&table).len(), 2);
}

proptest! {
    /// A file system is reported once, and at a mount point that no later mount hides.
    #[test]
    fn every_file_system_is_reported_at_most_once(mounts in prop::collection::vec((0_u8..5, 0_u8..6, any::<bool>()), 0..20)) {
        let text: String = mounts
            .iter()
            .map(|(device, point, is_whole)| line(&format!("8:{device}"), if *is_whole { "/" } else { "/part" }, &format!("/m{point}"), "ext4"))
            .collect();
        let chosen = select(mounts::parse(text.as_bytes()).expect("well formed"), NetworkMounts::Skip);
        let mut devices: Vec<&str> = chosen.iter().map(|mount| mount.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        prop_assert_eq!(devices.len(), chosen.len());
        for mount in &chosen {
            let last = mounts.iter().rfind(|(_, point, _)| mount.point == Path::new(&format!("/m{point}")));
            prop_assert_eq!(last.map(|(device, ..)| format!("8:{device}")), Some(mount.device.clone()));
        }
    }
}

#[test]
fn a_file_system_that_cannot_be_asked_is_named_and_the_others_are_kept() {
    let (tree, a, _) = tree();
    let unaskable = format!("{}/{}", tree.path().display(), "x".repeat(300)); // longer than a name may be
    tree.write("self/mountinfo", line("8:2", "/", &unaskable, "ext4") + &line("8:1", "/", &a, "ext4"));
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    for _ in 0..2 {
        let error = pass(&mut source, &mut table, 0).expect_err("refused");
        assert!(error.to_string().starts_with(&format!("cannot read {unaskable};")), "{error}");
        assert_eq!(points(&table), std::slice::from_ref(&a));
    }
    assert_eq!(table.generation(), 1);
}

#[test]
fn a_file_system_without_blocks_is_left_out_whatever_its_type() {
    let tree = Tree::new(&[]);
    tree.write("self/mountinfo", line("0:9", "/", "/../proc", "unknown")); // `/proc` itself would be left out by its place
    let mut source = Filesystem::new(tree.path(), NetworkMounts::Skip);
    let mut table = Table::default();
    pass(&mut source, &mut table, 0).expect("nothing to ask");
    assert!(points(&table).is_empty());
    assert_eq!(by_key(&table)["system_filesystems_unreported{reason=\"limit\"}"], 0.0);
}
