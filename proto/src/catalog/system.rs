//! What the agent reads from the host, the control groups and the watched service.

use super::Metric;
use crate::sample::Kind::{Counter, Gauge};

/// Every row of this file.
pub(super) const SYSTEM_ROWS: &[&Metric] = &[
    &SYSTEM_CPU_USAGE_PERCENT,
    &SYSTEM_CPU_SECONDS_TOTAL,
    &SYSTEM_CPUS,
    &SYSTEM_BOOT_TIME_SECONDS,
    &SYSTEM_UPTIME_SECONDS,
    &SYSTEM_LOAD1,
    &SYSTEM_LOAD5,
    &SYSTEM_LOAD15,
    &SYSTEM_CONTEXT_SWITCHES_TOTAL,
    &SYSTEM_PROCESSES_CREATED_TOTAL,
    &SYSTEM_PROCESSES_RUNNING,
    &SYSTEM_PROCESSES_BLOCKED,
    &SYSTEM_MEMORY_USAGE_BYTES,
    &SYSTEM_MEMORY_TOTAL_BYTES,
    &SYSTEM_MEMORY_AVAILABLE_BYTES,
    &SYSTEM_MEMORY_FREE_BYTES,
    &SYSTEM_MEMORY_BUFFERS_BYTES,
    &SYSTEM_MEMORY_CACHED_BYTES,
    &SYSTEM_SWAP_TOTAL_BYTES,
    &SYSTEM_SWAP_FREE_BYTES,
    &SYSTEM_SWAP_USAGE_BYTES,
    &SYSTEM_SWAP_IN_BYTES_TOTAL,
    &SYSTEM_SWAP_OUT_BYTES_TOTAL,
    &SYSTEM_PAGE_FAULTS_MAJOR_TOTAL,
    &SYSTEM_OOM_KILLS_TOTAL,
    &SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL,
    &SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL,
    &SYSTEM_DISK_READS_TOTAL,
    &SYSTEM_DISK_READ_BYTES_TOTAL,
    &SYSTEM_DISK_READ_SECONDS_TOTAL,
    &SYSTEM_DISK_WRITES_TOTAL,
    &SYSTEM_DISK_WRITTEN_BYTES_TOTAL,
    &SYSTEM_DISK_WRITE_SECONDS_TOTAL,
    &SYSTEM_DISK_IO_IN_PROGRESS,
    &SYSTEM_DISK_IO_SECONDS_TOTAL,
    &SYSTEM_DISK_IO_WEIGHTED_SECONDS_TOTAL,
    &SYSTEM_DISKS_UNREPORTED,
    &SYSTEM_NETWORK_RECEIVE_BYTES_TOTAL,
    &SYSTEM_NETWORK_RECEIVE_PACKETS_TOTAL,
    &SYSTEM_NETWORK_RECEIVE_ERRORS_TOTAL,
    &SYSTEM_NETWORK_RECEIVE_DROPPED_TOTAL,
    &SYSTEM_NETWORK_TRANSMIT_BYTES_TOTAL,
    &SYSTEM_NETWORK_TRANSMIT_PACKETS_TOTAL,
    &SYSTEM_NETWORK_TRANSMIT_ERRORS_TOTAL,
    &SYSTEM_NETWORK_TRANSMIT_DROPPED_TOTAL,
    &SYSTEM_NETWORK_INTERFACES_UNREPORTED,
    &SYSTEM_FILESYSTEM_SIZE_BYTES,
    &SYSTEM_FILESYSTEM_FREE_BYTES,
    &SYSTEM_FILESYSTEM_AVAILABLE_BYTES,
    &SYSTEM_FILESYSTEM_FILES,
    &SYSTEM_FILESYSTEM_FILES_FREE,
    &SYSTEM_FILESYSTEM_READONLY,
    &SYSTEM_FILESYSTEMS_UNREPORTED,
    &CGROUP_CPU_USAGE_RATIO,
    &CGROUP_CPU_SECONDS_TOTAL,
    &CGROUP_CPU_USER_SECONDS_TOTAL,
    &CGROUP_CPU_SYSTEM_SECONDS_TOTAL,
    &CGROUP_CPU_LIMIT_CORES,
    &CGROUP_CPU_PERIODS_TOTAL,
    &CGROUP_CPU_THROTTLED_PERIODS_TOTAL,
    &CGROUP_CPU_THROTTLED_SECONDS_TOTAL,
    &CGROUP_MEMORY_USAGE_BYTES,
    &CGROUP_MEMORY_LIMIT_BYTES,
    &CGROUP_MEMORY_WORKING_SET_BYTES,
    &CGROUP_MEMORY_OOM_KILLS_TOTAL,
    &CGROUP_PRESSURE_WAITING_SECONDS_TOTAL,
    &CGROUP_PRESSURE_STALLED_SECONDS_TOTAL,
    &SERVICE_CPU_USAGE_RATIO,
    &SERVICE_CPU_SECONDS_TOTAL,
    &SERVICE_MEMORY_USAGE_BYTES,
    &SERVICE_PROCESS_CPU_USAGE_RATIO,
    &SERVICE_PROCESS_CPU_USER_SECONDS_TOTAL,
    &SERVICE_PROCESS_CPU_SYSTEM_SECONDS_TOTAL,
    &SERVICE_PROCESS_RESIDENT_MEMORY_BYTES,
    &SERVICE_PROCESS_VIRTUAL_MEMORY_BYTES,
    &SERVICE_PROCESS_THREADS,
    &SERVICE_PROCESS_OPEN_FDS,
    &SERVICE_PROCESS_MAX_FDS,
    &SERVICE_PROCESS_READ_BYTES_TOTAL,
    &SERVICE_PROCESS_WRITTEN_BYTES_TOTAL,
    &SERVICE_PROCESS_START_TIME_SECONDS,
];

/// What tells one file system from another.
const OF_FILESYSTEM: &[&str] = &["device", "fstype", "mountpoint"];

/// A row whose values go up and down.
const fn gauge(name: &'static str, unit: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Gauge, unit, labels, help }
}

/// A row whose values only grow.
const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Counter, unit, labels, help }
}

// === The host ===

/// Share of the host's CPU time used since the pass before, 0 to 100; idle time and waiting for I/O are not use.
pub const SYSTEM_CPU_USAGE_PERCENT: Metric = gauge(
    "system_cpu_usage_percent",
    "percent",
    &[],
    "Share of the host's CPU time used since the pass before, 0 to 100; idle time and waiting for I/O are not use.",
);
/// CPU time of the host over all CPUs, by mode; guest time is contained in user and nice.
pub const SYSTEM_CPU_SECONDS_TOTAL: Metric = counter(
    "system_cpu_seconds_total",
    "seconds",
    &["mode"],
    "CPU time of the host over all CPUs, by mode; guest time is contained in user and nice.",
);
/// CPUs of the host that are online.
pub const SYSTEM_CPUS: Metric = gauge("system_cpus", "1", &[], "CPUs of the host that are online.");
/// When the host booted, in seconds since the Unix epoch; a jump means that the wall clock was set.
pub const SYSTEM_BOOT_TIME_SECONDS: Metric = gauge(
    "system_boot_time_seconds",
    "seconds",
    &[],
    "When the host booted, in seconds since the Unix epoch; a jump means that the wall clock was set.",
);
/// Time since the host booted.
pub const SYSTEM_UPTIME_SECONDS: Metric = gauge("system_uptime_seconds", "seconds", &[], "Time since the host booted.");
/// Tasks that run or wait for the CPU or a disk, averaged over 1 minute.
pub const SYSTEM_LOAD1: Metric =
    gauge("system_load1", "1", &[], "Tasks that run or wait for the CPU or a disk, averaged over 1 minute.");
/// Tasks that run or wait for the CPU or a disk, averaged over 5 minutes.
pub const SYSTEM_LOAD5: Metric =
    gauge("system_load5", "1", &[], "Tasks that run or wait for the CPU or a disk, averaged over 5 minutes.");
/// Tasks that run or wait for the CPU or a disk, averaged over 15 minutes.
pub const SYSTEM_LOAD15: Metric =
    gauge("system_load15", "1", &[], "Tasks that run or wait for the CPU or a disk, averaged over 15 minutes.");
/// Switches from one task to another.
pub const SYSTEM_CONTEXT_SWITCHES_TOTAL: Metric =
    counter("system_context_switches_total", "1", &[], "Switches from one task to another.");
/// Processes and threads created.
pub const SYSTEM_PROCESSES_CREATED_TOTAL: Metric =
    counter("system_processes_created_total", "1", &[], "Processes and threads created.");
/// Tasks that run or are ready to.
pub const SYSTEM_PROCESSES_RUNNING: Metric =
    gauge("system_processes_running", "1", &[], "Tasks that run or are ready to.");
/// Tasks that wait for I/O.
pub const SYSTEM_PROCESSES_BLOCKED: Metric = gauge("system_processes_blocked", "1", &[], "Tasks that wait for I/O.");
/// Memory in use on the host: total minus available.
pub const SYSTEM_MEMORY_USAGE_BYTES: Metric =
    gauge("system_memory_usage_bytes", "bytes", &[], "Memory in use on the host: total minus available.");
/// Memory of the host.
pub const SYSTEM_MEMORY_TOTAL_BYTES: Metric = gauge("system_memory_total_bytes", "bytes", &[], "Memory of the host.");
/// Memory that new programs can have without swapping, as the kernel estimates it; where it does not, free memory, buffers and page cache without shared memory.
pub const SYSTEM_MEMORY_AVAILABLE_BYTES: Metric = gauge(
    "system_memory_available_bytes",
    "bytes",
    &[],
    "Memory that new programs can have without swapping, as the kernel estimates it; where it does not, free memory, buffers and page cache without shared memory.",
);
/// Memory that nothing uses, not even the page cache.
pub const SYSTEM_MEMORY_FREE_BYTES: Metric =
    gauge("system_memory_free_bytes", "bytes", &[], "Memory that nothing uses, not even the page cache.");
/// Memory of block device buffers.
pub const SYSTEM_MEMORY_BUFFERS_BYTES: Metric =
    gauge("system_memory_buffers_bytes", "bytes", &[], "Memory of block device buffers.");
/// Memory of the page cache, with shared memory.
pub const SYSTEM_MEMORY_CACHED_BYTES: Metric =
    gauge("system_memory_cached_bytes", "bytes", &[], "Memory of the page cache, with shared memory.");
/// Swap space of the host.
pub const SYSTEM_SWAP_TOTAL_BYTES: Metric = gauge("system_swap_total_bytes", "bytes", &[], "Swap space of the host.");
/// Swap space that is free.
pub const SYSTEM_SWAP_FREE_BYTES: Metric = gauge("system_swap_free_bytes", "bytes", &[], "Swap space that is free.");
/// Swap space in use.
pub const SYSTEM_SWAP_USAGE_BYTES: Metric = gauge("system_swap_usage_bytes", "bytes", &[], "Swap space in use.");
/// Memory read back from swap space.
pub const SYSTEM_SWAP_IN_BYTES_TOTAL: Metric =
    counter("system_swap_in_bytes_total", "bytes", &[], "Memory read back from swap space.");
/// Memory written out to swap space.
pub const SYSTEM_SWAP_OUT_BYTES_TOTAL: Metric =
    counter("system_swap_out_bytes_total", "bytes", &[], "Memory written out to swap space.");
/// Page faults for which a disk had to be read.
pub const SYSTEM_PAGE_FAULTS_MAJOR_TOTAL: Metric =
    counter("system_page_faults_major_total", "1", &[], "Page faults for which a disk had to be read.");
/// Processes that the kernel killed for want of memory, in all cgroups.
pub const SYSTEM_OOM_KILLS_TOTAL: Metric =
    counter("system_oom_kills_total", "1", &[], "Processes that the kernel killed for want of memory, in all cgroups.");
/// Time in which at least one task waited for the resource: cpu, memory or io.
pub const SYSTEM_PRESSURE_WAITING_SECONDS_TOTAL: Metric = counter(
    "system_pressure_waiting_seconds_total",
    "seconds",
    &["resource"],
    "Time in which at least one task waited for the resource: cpu, memory or io.",
);
/// Time in which all tasks waited for the resource: cpu, memory or io.
pub const SYSTEM_PRESSURE_STALLED_SECONDS_TOTAL: Metric = counter(
    "system_pressure_stalled_seconds_total",
    "seconds",
    &["resource"],
    "Time in which all tasks waited for the resource: cpu, memory or io.",
);
/// Reads completed by the block device.
pub const SYSTEM_DISK_READS_TOTAL: Metric =
    counter("system_disk_reads_total", "1", &["device"], "Reads completed by the block device.");
/// Bytes read from the block device.
pub const SYSTEM_DISK_READ_BYTES_TOTAL: Metric =
    counter("system_disk_read_bytes_total", "bytes", &["device"], "Bytes read from the block device.");
/// Time that reads took, summed over all of them.
pub const SYSTEM_DISK_READ_SECONDS_TOTAL: Metric =
    counter("system_disk_read_seconds_total", "seconds", &["device"], "Time that reads took, summed over all of them.");
/// Writes completed by the block device.
pub const SYSTEM_DISK_WRITES_TOTAL: Metric =
    counter("system_disk_writes_total", "1", &["device"], "Writes completed by the block device.");
/// Bytes written to the block device.
pub const SYSTEM_DISK_WRITTEN_BYTES_TOTAL: Metric =
    counter("system_disk_written_bytes_total", "bytes", &["device"], "Bytes written to the block device.");
/// Time that writes took, summed over all of them.
pub const SYSTEM_DISK_WRITE_SECONDS_TOTAL: Metric = counter(
    "system_disk_write_seconds_total",
    "seconds",
    &["device"],
    "Time that writes took, summed over all of them.",
);
/// Reads and writes that the block device has not completed yet.
pub const SYSTEM_DISK_IO_IN_PROGRESS: Metric = gauge(
    "system_disk_io_in_progress",
    "1",
    &["device"],
    "Reads and writes that the block device has not completed yet.",
);
/// Time in which the block device had something to do.
pub const SYSTEM_DISK_IO_SECONDS_TOTAL: Metric = counter(
    "system_disk_io_seconds_total",
    "seconds",
    &["device"],
    "Time in which the block device had something to do.",
);
/// Time with something to do, times how much of it there was.
pub const SYSTEM_DISK_IO_WEIGHTED_SECONDS_TOTAL: Metric = counter(
    "system_disk_io_weighted_seconds_total",
    "seconds",
    &["device"],
    "Time with something to do, times how much of it there was.",
);
/// Block devices beyond the limit of those reported.
pub const SYSTEM_DISKS_UNREPORTED: Metric =
    gauge("system_disks_unreported", "1", &[], "Block devices beyond the limit of those reported.");
/// Bytes received by the network interface.
pub const SYSTEM_NETWORK_RECEIVE_BYTES_TOTAL: Metric =
    counter("system_network_receive_bytes_total", "bytes", &["device"], "Bytes received by the network interface.");
/// Packets received by the network interface.
pub const SYSTEM_NETWORK_RECEIVE_PACKETS_TOTAL: Metric =
    counter("system_network_receive_packets_total", "1", &["device"], "Packets received by the network interface.");
/// Packets received damaged by the network interface.
pub const SYSTEM_NETWORK_RECEIVE_ERRORS_TOTAL: Metric = counter(
    "system_network_receive_errors_total",
    "1",
    &["device"],
    "Packets received damaged by the network interface.",
);
/// Packets received and dropped for want of room or of a receiver.
pub const SYSTEM_NETWORK_RECEIVE_DROPPED_TOTAL: Metric = counter(
    "system_network_receive_dropped_total",
    "1",
    &["device"],
    "Packets received and dropped for want of room or of a receiver.",
);
/// Bytes sent by the network interface.
pub const SYSTEM_NETWORK_TRANSMIT_BYTES_TOTAL: Metric =
    counter("system_network_transmit_bytes_total", "bytes", &["device"], "Bytes sent by the network interface.");
/// Packets sent by the network interface.
pub const SYSTEM_NETWORK_TRANSMIT_PACKETS_TOTAL: Metric =
    counter("system_network_transmit_packets_total", "1", &["device"], "Packets sent by the network interface.");
/// Packets that the network interface failed to send.
pub const SYSTEM_NETWORK_TRANSMIT_ERRORS_TOTAL: Metric = counter(
    "system_network_transmit_errors_total",
    "1",
    &["device"],
    "Packets that the network interface failed to send.",
);
/// Packets dropped before they were sent.
pub const SYSTEM_NETWORK_TRANSMIT_DROPPED_TOTAL: Metric =
    counter("system_network_transmit_dropped_total", "1", &["device"], "Packets dropped before they were sent.");
/// Network interfaces beyond the limit of those reported.
pub const SYSTEM_NETWORK_INTERFACES_UNREPORTED: Metric =
    gauge("system_network_interfaces_unreported", "1", &[], "Network interfaces beyond the limit of those reported.");
/// Size of the file system.
pub const SYSTEM_FILESYSTEM_SIZE_BYTES: Metric =
    gauge("system_filesystem_size_bytes", "bytes", OF_FILESYSTEM, "Size of the file system.");
/// Space free on the file system, with what is reserved for root.
pub const SYSTEM_FILESYSTEM_FREE_BYTES: Metric = gauge(
    "system_filesystem_free_bytes",
    "bytes",
    OF_FILESYSTEM,
    "Space free on the file system, with what is reserved for root.",
);
/// Space on the file system that programs can have.
pub const SYSTEM_FILESYSTEM_AVAILABLE_BYTES: Metric = gauge(
    "system_filesystem_available_bytes",
    "bytes",
    OF_FILESYSTEM,
    "Space on the file system that programs can have.",
);
/// Files that the file system can hold.
pub const SYSTEM_FILESYSTEM_FILES: Metric =
    gauge("system_filesystem_files", "1", OF_FILESYSTEM, "Files that the file system can hold.");
/// Files that can still be created on the file system.
pub const SYSTEM_FILESYSTEM_FILES_FREE: Metric =
    gauge("system_filesystem_files_free", "1", OF_FILESYSTEM, "Files that can still be created on the file system.");
/// 1 where the file system is mounted read-only, else 0.
pub const SYSTEM_FILESYSTEM_READONLY: Metric =
    gauge("system_filesystem_readonly", "1", OF_FILESYSTEM, "1 where the file system is mounted read-only, else 0.");
/// File systems that are not reported: beyond the limit of those reported, or not the agent's to ask.
pub const SYSTEM_FILESYSTEMS_UNREPORTED: Metric = gauge(
    "system_filesystems_unreported",
    "1",
    &["reason"],
    "File systems that are not reported, by reason: limit (beyond those reported) or permission (not ours to ask).",
);

// === Control groups; `owner` is `agent` or `service` ===

/// CPU time used by the cgroup since the pass before, as a ratio of one CPU's: 1 is one CPU, so 0 to the number of CPUs.
pub const CGROUP_CPU_USAGE_RATIO: Metric = gauge(
    "cgroup_cpu_usage_ratio",
    "ratio",
    &["owner"],
    "CPU time used by the cgroup since the pass before, as a ratio of one CPU's: 1 is one CPU, so 0 to the number of CPUs.",
);
/// CPU time of the cgroup.
pub const CGROUP_CPU_SECONDS_TOTAL: Metric =
    counter("cgroup_cpu_seconds_total", "seconds", &["owner"], "CPU time of the cgroup.");
/// CPU time of the cgroup in programs.
pub const CGROUP_CPU_USER_SECONDS_TOTAL: Metric =
    counter("cgroup_cpu_user_seconds_total", "seconds", &["owner"], "CPU time of the cgroup in programs.");
/// CPU time of the cgroup in the kernel.
pub const CGROUP_CPU_SYSTEM_SECONDS_TOTAL: Metric =
    counter("cgroup_cpu_system_seconds_total", "seconds", &["owner"], "CPU time of the cgroup in the kernel.");
/// How many CPUs the cgroup may use, by its own limit and those above it that can be seen; absent without a limit.
pub const CGROUP_CPU_LIMIT_CORES: Metric = gauge(
    "cgroup_cpu_limit_cores",
    "1",
    &["owner"],
    "How many CPUs the cgroup may use, by its own limit and those above it that can be seen; absent without a limit.",
);
/// Periods in which the limit of CPU time was enforced.
pub const CGROUP_CPU_PERIODS_TOTAL: Metric =
    counter("cgroup_cpu_periods_total", "1", &["owner"], "Periods in which the limit of CPU time was enforced.");
/// Periods in which the cgroup was stopped because its CPU time was used up.
pub const CGROUP_CPU_THROTTLED_PERIODS_TOTAL: Metric = counter(
    "cgroup_cpu_throttled_periods_total",
    "1",
    &["owner"],
    "Periods in which the cgroup was stopped because its CPU time was used up.",
);
/// Time that the cgroup was stopped because its CPU time was used up.
pub const CGROUP_CPU_THROTTLED_SECONDS_TOTAL: Metric = counter(
    "cgroup_cpu_throttled_seconds_total",
    "seconds",
    &["owner"],
    "Time that the cgroup was stopped because its CPU time was used up.",
);
/// Memory of the cgroup, with its page cache.
pub const CGROUP_MEMORY_USAGE_BYTES: Metric =
    gauge("cgroup_memory_usage_bytes", "bytes", &["owner"], "Memory of the cgroup, with its page cache.");
/// How much memory the cgroup may use, by its own limit and those above it that can be seen; absent without a limit.
pub const CGROUP_MEMORY_LIMIT_BYTES: Metric = gauge(
    "cgroup_memory_limit_bytes",
    "bytes",
    &["owner"],
    "How much memory the cgroup may use, by its own limit and those above it that can be seen; absent without a limit.",
);
/// Memory of the cgroup without the page cache that can be given back at once, as the kubelet counts it.
pub const CGROUP_MEMORY_WORKING_SET_BYTES: Metric = gauge(
    "cgroup_memory_working_set_bytes",
    "bytes",
    &["owner"],
    "Memory of the cgroup without the page cache that can be given back at once, as the kubelet counts it.",
);
/// Processes of the cgroup that the kernel killed for want of memory.
pub const CGROUP_MEMORY_OOM_KILLS_TOTAL: Metric = counter(
    "cgroup_memory_oom_kills_total",
    "1",
    &["owner"],
    "Processes of the cgroup that the kernel killed for want of memory.",
);
/// Time in which at least one task of the cgroup waited for the resource: cpu, memory or io.
pub const CGROUP_PRESSURE_WAITING_SECONDS_TOTAL: Metric = counter(
    "cgroup_pressure_waiting_seconds_total",
    "seconds",
    &["owner", "resource"],
    "Time in which at least one task of the cgroup waited for the resource: cpu, memory or io.",
);
/// Time in which all tasks of the cgroup waited for the resource: cpu, memory or io.
pub const CGROUP_PRESSURE_STALLED_SECONDS_TOTAL: Metric = counter(
    "cgroup_pressure_stalled_seconds_total",
    "seconds",
    &["owner", "resource"],
    "Time in which all tasks of the cgroup waited for the resource: cpu, memory or io.",
);

// === The watched service; `source` is `cgroup` (its container) or `stat` (its main process) ===

/// CPU time used by the service since the pass before, as a ratio of one CPU's: 1 is one CPU, so 0 to the number of CPUs.
pub const SERVICE_CPU_USAGE_RATIO: Metric = gauge(
    "service_cpu_usage_ratio",
    "ratio",
    &["source"],
    "CPU time used by the service since the pass before, as a ratio of one CPU's: 1 is one CPU, so 0 to the number of CPUs.",
);
/// CPU time of the service: of its cgroup where that can be read, else of its main process.
pub const SERVICE_CPU_SECONDS_TOTAL: Metric = counter(
    "service_cpu_seconds_total",
    "seconds",
    &["source"],
    "CPU time of the service: of its cgroup where that can be read, else of its main process.",
);
/// Memory of the service: working set of its cgroup where that can be read, else resident memory of its main process.
pub const SERVICE_MEMORY_USAGE_BYTES: Metric = gauge(
    "service_memory_usage_bytes",
    "bytes",
    &["source"],
    "Memory of the service: working set of its cgroup where that can be read, else resident memory of its main process.",
);
/// CPU time used by the service's main process since the pass before, as a ratio of one CPU's: 1 is one CPU.
pub const SERVICE_PROCESS_CPU_USAGE_RATIO: Metric = gauge(
    "service_process_cpu_usage_ratio",
    "ratio",
    &[],
    "CPU time used by the service's main process since the pass before, as a ratio of one CPU's: 1 is one CPU.",
);
/// CPU time of the service's main process in its program.
pub const SERVICE_PROCESS_CPU_USER_SECONDS_TOTAL: Metric = counter(
    "service_process_cpu_user_seconds_total",
    "seconds",
    &[],
    "CPU time of the service's main process in its program.",
);
/// CPU time of the service's main process in the kernel.
pub const SERVICE_PROCESS_CPU_SYSTEM_SECONDS_TOTAL: Metric = counter(
    "service_process_cpu_system_seconds_total",
    "seconds",
    &[],
    "CPU time of the service's main process in the kernel.",
);
/// Memory of the service's main process.
pub const SERVICE_PROCESS_RESIDENT_MEMORY_BYTES: Metric =
    gauge("service_process_resident_memory_bytes", "bytes", &[], "Memory of the service's main process.");
/// Address space of the service's main process.
pub const SERVICE_PROCESS_VIRTUAL_MEMORY_BYTES: Metric =
    gauge("service_process_virtual_memory_bytes", "bytes", &[], "Address space of the service's main process.");
/// Threads of the service's main process.
pub const SERVICE_PROCESS_THREADS: Metric =
    gauge("service_process_threads", "1", &[], "Threads of the service's main process.");
/// Files, sockets and pipes that the service's main process has open.
pub const SERVICE_PROCESS_OPEN_FDS: Metric =
    gauge("service_process_open_fds", "1", &[], "Files, sockets and pipes that the service's main process has open.");
/// How many files the service's main process may open; absent without a limit.
pub const SERVICE_PROCESS_MAX_FDS: Metric = gauge(
    "service_process_max_fds",
    "1",
    &[],
    "How many files the service's main process may open; absent without a limit.",
);
/// Bytes that the service's main process had block devices read.
pub const SERVICE_PROCESS_READ_BYTES_TOTAL: Metric = counter(
    "service_process_read_bytes_total",
    "bytes",
    &[],
    "Bytes that the service's main process had block devices read.",
);
/// Bytes that the service's main process had block devices write.
pub const SERVICE_PROCESS_WRITTEN_BYTES_TOTAL: Metric = counter(
    "service_process_written_bytes_total",
    "bytes",
    &[],
    "Bytes that the service's main process had block devices write.",
);
/// When the service's main process began, in seconds since the Unix epoch.
pub const SERVICE_PROCESS_START_TIME_SECONDS: Metric = gauge(
    "service_process_start_time_seconds",
    "seconds",
    &[],
    "When the service's main process began, in seconds since the Unix epoch.",
);
