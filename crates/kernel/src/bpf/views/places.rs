//! Where things are in the structures of the kernel that is running.

use crate::btf::Index;

/// Places in bytes, from the beginning of the structure that a pointer leads to.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// From a task to the number of its state, its namespaces, and the pieces of the latter.
    pub state: i32,
    pub nsproxy: i32,
    pub cgroup_ns: i32,
    pub pid_ns: i32,
    pub time_ns: i32,
    /// The number that the next process of a PID namespace gets.
    pub next_pid: i32,
    /// What a time namespace adds to the uptime, in seconds and nanoseconds.
    pub uptime_offset: i32,
    /// From a cgroup namespace to the groups at its root; from there to those of each kind.
    pub root_groups: i32,
    pub memory_group: i32,
    pub cpuset_group: i32,
    pub default_group: i32,
    /// A group: the one above (its `self` comes first); its node and that one's number; processor time, ns.
    pub above: i32,
    pub node: i32,
    pub id: i32,
    pub user_time: i32,
    pub system_time: i32,
    /// A memory group's counters.
    pub memory: i32,
    pub swap: i32,
    pub usage: i32,
    pub max: i32,
    pub high: i32,
    /// Its statistics, and the places in the list of them, in numbers.
    pub statistics: i32,
    pub items: Items,
    /// From a memory group to a node of memory, and what is there.
    pub of_nodes: i32,
    pub to_node: i32,
    pub zone: i32,
    pub zones: i32,
    pub zone_size: i32,
    pub reserve: i32,
    pub node_items: i32,
    pub zone_managed: i32,
    pub zone_low: i32,
    pub zone_free: i32,
    /// Number of a node's item: reclaimable slab, and the rest that can be reclaimed.
    pub node_reclaimable: i32,
    pub node_misc_reclaimable: i32,
    /// Processors of a cpuset, and whether that is a pointer.
    pub processors: i32,
    pub processors_apart: bool,
    /// How much a file already has.
    pub count: i32,
}

/// Numbers of the statistics of a memory group.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    pub inactive_anon: i32,
    pub active_anon: i32,
    pub inactive_file: i32,
    pub active_file: i32,
    pub unevictable: i32,
    /// In bytes.
    pub slab_reclaimable: i32,
    /// In bytes.
    pub slab_unreclaimable: i32,
    pub anon_mapped: i32,
    pub file_mapped: i32,
    pub file: i32,
    pub dirty: i32,
    pub writeback: i32,
    pub shmem: i32,
}

impl Items {
    fn of(index: &Index<'_>) -> Option<Self> {
        let number = |name: &str| index.number(name).and_then(|number| i32::try_from(number).ok());
        // Since Linux 6.11 only the statistics that memory groups have are kept, in the order of a table that the type
        // information does not tell (memcg_node_stat_items in mm/memcontrol.c): those up to the slab, seven that count
        // faults, and the rest. Then the list is shorter than there are numbers.
        let all = index.number("MEMCG_NR_STAT").or_else(|| index.number("NR_VM_NODE_STAT_ITEMS"))?;
        let short = index.length("memcg_vmstats.state")? < usize::try_from(all).ok()?;
        let after_faults = if short { 14 - number("NR_ANON_MAPPED")? } else { 0 };
        let later = |name: &str| number(name).map(|number| number + after_faults);
        Some(Self {
            inactive_anon: number("NR_INACTIVE_ANON")?,
            active_anon: number("NR_ACTIVE_ANON")?,
            inactive_file: number("NR_INACTIVE_FILE")?,
            active_file: number("NR_ACTIVE_FILE")?,
            unevictable: number("NR_UNEVICTABLE")?,
            slab_reclaimable: number("NR_SLAB_RECLAIMABLE_B")?,
            slab_unreclaimable: number("NR_SLAB_UNRECLAIMABLE_B")?,
            anon_mapped: later("NR_ANON_MAPPED")?,
            file_mapped: later("NR_FILE_MAPPED")?,
            file: later("NR_FILE_PAGES")?,
            dirty: later("NR_FILE_DIRTY")?,
            writeback: later("NR_WRITEBACK")?,
            shmem: later("NR_SHMEM")?,
        })
    }
}

impl Places {
    /// `None`: this kernel's structures are not as they are known.
    pub fn of(index: &Index<'_>) -> Option<Self> {
        let byte = |path: &str| index.byte(path).and_then(|byte| i32::try_from(byte).ok());
        let number = |name: &str| index.number(name).and_then(|number| i32::try_from(number).ok());
        let group = |kind: &str| Some(byte("css_set.subsys")? + 8 * number(kind)?);
        let first = ["mem_cgroup.css", "cpuset.css", "cgroup.self"];
        if first.iter().any(|path| byte(path) != Some(0)) {
            return None;
        }
        Some(Self {
            state: byte("task_struct.__state")?,
            nsproxy: byte("task_struct.nsproxy")?,
            cgroup_ns: byte("nsproxy.cgroup_ns")?,
            pid_ns: byte("nsproxy.pid_ns_for_children")?,
            time_ns: byte("nsproxy.time_ns")?,
            next_pid: byte("pid_namespace.idr.idr_next")?,
            uptime_offset: byte("time_namespace.offsets.boottime")?,
            root_groups: byte("cgroup_namespace.root_cset")?,
            memory_group: group("memory_cgrp_id")?,
            cpuset_group: group("cpuset_cgrp_id")?,
            default_group: byte("css_set.dfl_cgrp")?,
            above: byte("cgroup_subsys_state.parent")?,
            node: byte("cgroup.kn")?,
            id: byte("kernfs_node.id")?,
            user_time: byte("cgroup.bstat.cputime.utime")?,
            system_time: byte("cgroup.bstat.cputime.stime")?,
            memory: byte("mem_cgroup.memory")?,
            swap: byte("mem_cgroup.swap")?,
            usage: byte("page_counter.usage")?,
            max: byte("page_counter.max")?,
            high: byte("page_counter.high")?,
            statistics: byte("mem_cgroup.vmstats")?,
            items: Items::of(index)?,
            of_nodes: byte("mem_cgroup.nodeinfo")?,
            to_node: byte("mem_cgroup_per_node.lruvec.pgdat")?,
            zone: byte("pglist_data.node_zones")?,
            zones: i32::try_from(index.length("pglist_data.node_zones")?).ok()?,
            zone_size: i32::try_from(index.size("zone")?).ok()?,
            reserve: byte("pglist_data.totalreserve_pages")?,
            node_items: byte("pglist_data.vm_stat")?,
            zone_managed: byte("zone.managed_pages")?,
            zone_low: byte("zone._watermark")? + 8 * number("WMARK_LOW")?,
            zone_free: byte("zone.vm_stat")? + 8 * number("NR_FREE_PAGES")?,
            node_reclaimable: number("NR_SLAB_RECLAIMABLE_B")?,
            node_misc_reclaimable: number("NR_KERNEL_MISC_RECLAIMABLE")?,
            processors: byte("cpuset.effective_cpus")?,
            processors_apart: index.is_pointer("cpuset.effective_cpus")?,
            count: byte("seq_file.count")?,
        })
    }
}
