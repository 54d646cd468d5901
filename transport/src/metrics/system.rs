//! The machine's load and memory.

/// What the kernel tells of the machine, under Mesos's names.
pub fn of_system() -> Vec<(&'static str, f64)> {
    let mut gauges = Vec::new();
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let names = ["system/load_1min", "system/load_5min", "system/load_15min"];
        let values = load.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        gauges.extend(names.into_iter().zip(values));
    }
    if let Ok(memory) = std::fs::read_to_string("/proc/meminfo") {
        let of = |name: &str| {
            let line = memory.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib * 1_024.0)
        };
        gauges.extend(of("MemTotal:").map(|bytes| ("system/mem_total_bytes", bytes)));
        gauges.extend(of("MemFree:").map(|bytes| ("system/mem_free_bytes", bytes)));
    }
    if let Ok(cpus) = std::thread::available_parallelism() {
        gauges.push(("system/cpus_total", super::double(cpus.get())));
    }
    gauges
}
