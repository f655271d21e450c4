//! What a guest sees of the machine: files like `/proc/meminfo` that tell about the reader's own group, made by programs
//! that the kernel runs while a pinned file is read, and the answer of sysinfo(2) from the same calculation.
//!
//! ```text
//!   task that reads ─▶ its cgroup namespace ─▶ the group at its root: the guest's ─▶ memory, cpuset, processor time
//!                    ─▶ its PID namespace   ─▶ the guest's tasks
//!                    ─▶ its time namespace  ─▶ the guest's uptime
//! ```
//! One set of files serves all guests of a host. Nothing runs for them and nothing of them is per guest, but what
//! [`Views::admit`] notes for sysinfo(2). A reader in the host's own namespaces is told about the host.

mod frame;
mod memory;
mod places;
mod processors;
mod sysinfo;
mod tasks;

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use self::frame::Frame;
use self::places::Places;
use self::tasks::Whose;
use super::asm::{MapNumber, Reg, Size};
use super::{Program, fnv};
use crate::btf::Btf;
use crate::sys::{self, BpfMap, BpfMapKind, BpfMapSpec, BpfProgramKind, BpfUpdate};
use crate::{Blame as _, Fault, Result};

/// A file of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `/proc/meminfo`
    Meminfo,
    /// `/proc/swaps`
    Swaps,
    /// `/proc/uptime`
    Uptime,
    /// `/proc/loadavg`
    Loadavg,
    /// `/proc/stat`
    Stat,
    /// `/proc/cpuinfo`
    Cpuinfo,
    /// `/sys/devices/system/cpu/online`
    Online,
    /// `/proc/stat` for a reader of another PID namespace: tasks are known by their cgroup namespace.
    StatOfGroup,
}

impl File {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Meminfo,
        Self::Swaps,
        Self::Uptime,
        Self::Loadavg,
        Self::Stat,
        Self::Cpuinfo,
        Self::Online,
        Self::StatOfGroup,
    ];

    /// Its name in the set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meminfo => "meminfo",
            Self::Swaps => "swaps",
            Self::Uptime => "uptime",
            Self::Loadavg => "loadavg",
            Self::Stat => "stat",
            Self::Cpuinfo => "cpuinfo",
            Self::Online => "online",
            Self::StatOfGroup => "stat-of-group",
        }
    }

    /// What its program goes through: the tasks, or the elements of an array. Only with the former it may wait, which
    /// adding up the processor time needs.
    fn of_tasks(self) -> bool {
        matches!(self, Self::Uptime | Self::Loadavg | Self::Stat | Self::StatOfGroup)
    }

    fn build(self, frame: &mut Frame, places: &Places, machine: &Machine) {
        match self {
            Self::Meminfo => once(frame, 16, |frame| memory::meminfo(frame, places, machine)),
            Self::Swaps => once(frame, 16, |frame| memory::swaps(frame, places, machine)),
            Self::Uptime => once(frame, 8, |frame| tasks::uptime_file(frame, places, machine)),
            Self::Loadavg => tasks::loadavg(frame, places, machine),
            Self::Stat => tasks::stat(frame, places, machine, Whose::OfPidNamespace),
            Self::StatOfGroup => tasks::stat(frame, places, machine, Whose::OfCgroupNamespace),
            Self::Cpuinfo => processors::cpuinfo(frame, places, machine),
            Self::Online => processors::online(frame, places, machine),
        }
        frame.asm.answer(0);
    }
}

/// The body of a program for when it is called without an element, which `place` in its context is: once, at the end.
fn once(frame: &mut Frame, place: i16, body: impl FnOnce(&mut Frame)) {
    let end = frame.asm.label();
    frame.asm.load(Size::Double, Reg::R1, frame::CONTEXT, place).jump_if_not_equal(Reg::R1, 0, end);
    body(frame);
    frame.asm.place(end);
}

/// What a set is made for: facts that the programs cannot find out themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The memory controller is one of version 1.
    pub memory_v1: bool,
    /// Nodes of memory.
    nodes: Vec<i32>,
    /// The host's swap, in pages.
    swap_pages: u64,
    /// A page has two to the power of this bytes.
    page_shift: u8,
    /// Processors that there can be.
    processors: i32,
    /// Seconds by which the atomic time is ahead of the clock.
    tai_offset: i32,
    /// How the processor time of a group is added up.
    flush: Option<Flush>,
}

/// Functions of the kernel, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flush {
    /// `bpf_cgroup_from_id` and `bpf_cgroup_release` (Linux 6.2): later kernels do not take a group that was only found
    /// on the way.
    group: Option<(u32, u32)>,
    /// `css_rstat_flush` (Linux 6.16), before that `cgroup_rstat_flush` (6.1).
    flush: u32,
}

impl Flush {
    fn of(btf: &Btf) -> Option<Self> {
        let group = btf.function("bpf_cgroup_from_id").zip(btf.function("bpf_cgroup_release"));
        let flush = btf.function("css_rstat_flush").or_else(|| btf.function("cgroup_rstat_flush"))?;
        Some(Self { group, flush })
    }
}

impl Machine {
    /// This one.
    pub fn of_host(memory_v1: bool) -> Self {
        let list = |path: &str| fs::read_to_string(path).map(|text| numbers(&text)).unwrap_or_default();
        let mut nodes = list("/sys/devices/system/node/online");
        if nodes.is_empty() {
            nodes.push(0);
        }
        nodes.truncate(16);
        let processors = list("/sys/devices/system/cpu/possible").last().map_or(1, |last| last + 1);
        Self {
            memory_v1,
            nodes,
            swap_pages: pages_of_swap(&rustix::system::sysinfo()),
            page_shift: u8::try_from(rustix::param::page_size().trailing_zeros()).unwrap_or(12),
            processors: processors.min(1024),
            tai_offset: sys::tai_offset().ok().and_then(|offset| i32::try_from(offset).ok()).unwrap_or(0),
            flush: None,
        }
    }

    /// A name for a set: another machine, or another version of this product, has another.
    fn name(&self) -> String {
        let hash = fnv(format!("{self:?} {}", env!("CARGO_PKG_VERSION")).into_bytes());
        format!("views2-{hash:032x}")
    }
}

fn pages_of_swap(info: &rustix::system::Sysinfo) -> u64 {
    let bytes = info.totalswap * u64::from(info.mem_unit);
    bytes / rustix::param::page_size() as u64
}

/// `0-2,5` as numbers.
fn numbers(text: &str) -> Vec<i32> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
    });
    ranges.flatten().collect()
}

/// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_FEXIT`, `BPF_TRACE_ITER`
const TRACING: u32 = 26;
const AFTER: u32 = 25;
const ITERATOR: u32 = 28;
/// Readings that go on at one time, guests that may be known.
const READINGS: u32 = 4096;
const GUESTS: u32 = 16_384;

/// Names of what is pinned beside the files.
const MEMBERS: &str = "members";
const SYSINFO: &str = "sysinfo";

/// A set of files, and what belongs to it.
#[derive(Debug)]
pub struct Views {
    directory: PathBuf,
}

impl Views {
    /// The set for this machine below `bpffs`, made by whoever needs it first.
    ///
    /// # Errors
    /// No type information, or a kernel that refuses such programs: then there are no views.
    pub fn open(bpffs: &Path, machine: &Machine) -> Result<Self> {
        let directory = bpffs.join(machine.name());
        if directory.is_dir() {
            return Ok(Self { directory });
        }
        // Complete before it has its name, so that nobody finds a part of it.
        let draft = bpffs.join(format!("views2-{}", std::process::id()));
        let made = make(&draft, machine).and_then(|()| {
            let renamed =
                fs::rename(&draft, &directory).blame_with("rename(2)", || directory.display().to_string());
            if directory.is_dir() { Ok(()) } else { renamed }
        });
        // There only if something failed, or if another one was faster.
        for entry in fs::read_dir(&draft).into_iter().flatten().flatten() {
            drop(fs::remove_file(entry.path()));
        }
        drop(fs::remove_dir(&draft));
        made.map(|()| Self { directory })
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file of the set, to be bound over the kernel's.
    pub fn path(&self, file: File) -> PathBuf {
        self.directory.join(file.name())
    }

    /// Whether sysinfo(2) tells guests what is theirs.
    pub fn answers_sysinfo(&self) -> bool {
        self.directory.join(SYSINFO).exists()
    }

    /// From now on sysinfo(2) tells those below this group of version 2 about its memory, or its load, or both. The
    /// number of a group is never used again: what is left here when it has gone does no harm, and makes room in the end.
    pub fn admit(&self, group: u64, memory: bool, load: bool) -> Result<()> {
        let what = (u32::from(memory) * sysinfo::MEMORY) | (u32::from(load) * sysinfo::LOAD);
        let members = BpfMap::open(&self.directory.join(MEMBERS))?;
        members.update(&group.to_ne_bytes(), &what.to_ne_bytes(), BpfUpdate::Any)
    }
}

/// The maps of a set.
struct Maps {
    readings: BpfMap,
    averages: BpfMap,
    members: BpfMap,
    one: BpfMap,
    processors: BpfMap,
}

impl Maps {
    fn make(machine: &Machine) -> Result<Self> {
        let map = |name: &str, kind, key, value, entries| {
            BpfMap::create(name, BpfMapSpec { kind, key, value, entries, flags: 0, types: None })
        };
        let processors = u32::try_from(machine.processors).unwrap_or(1);
        let maps = Self {
            readings: map("vs_readings", BpfMapKind::LruHash, 8, 24, READINGS)?,
            averages: map("vs_averages", BpfMapKind::LruHash, 8, 40, READINGS)?,
            members: map("vs_members", BpfMapKind::LruHash, 8, 4, GUESTS)?,
            one: map("vs_one", BpfMapKind::Array, 4, 8, 1)?,
            processors: map("vs_processors", BpfMapKind::Array, 4, processors::ELEMENT, processors)?,
        };
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        for (number, block) in blocks(&text) {
            if number < processors {
                maps.processors.update(&number.to_ne_bytes(), &element(block), BpfUpdate::Any)?;
            }
        }
        Ok(maps)
    }

    fn get(&self, map: MapNumber) -> &BpfMap {
        match map {
            tasks::READINGS => &self.readings,
            tasks::AVERAGES => &self.averages,
            _ => &self.members,
        }
    }
}

/// The parts of a `/proc/cpuinfo`, with the number of the processor that each is about.
fn blocks(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.split_inclusive("\n\n").filter_map(|block| {
        let line = block.lines().find(|line| line.starts_with("processor"))?;
        Some((line.split(':').nth(1)?.trim().parse().ok()?, block))
    })
}

fn element(block: &str) -> Vec<u8> {
    let room = processors::ELEMENT as usize - 4;
    let text = block.as_bytes().get(..room).unwrap_or(block.as_bytes());
    let mut element = u32::try_from(text.len()).unwrap_or(0).to_ne_bytes().to_vec();
    element.extend(text);
    element.resize(processors::ELEMENT as usize, 0);
    element
}

fn make(directory: &Path, machine: &Machine) -> Result<()> {
    let shown = || directory.display().to_string();
    let btf = Btf::of_kernel().blame("read(2)", crate::btf::PATH)?;
    let index = btf.index();
    let unknown =
        || Fault::from_errno("look at", "the kernel's structures for groups and memory", libc::ENOTSUP);
    let places = Places::of(&index).ok_or_else(unknown)?;
    let elements = btf.function("bpf_iter_bpf_map_elem").ok_or_else(unknown)?;
    let tasks = btf.function("bpf_iter_task").ok_or_else(unknown)?;
    let flushing = Machine { flush: Flush::of(&btf), ..machine.clone() };
    let maps = Maps::make(machine)?;
    fs::create_dir(directory).blame_with("mkdir(2)", shown)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).blame_with("chmod(2)", shown)?;
    for file in File::ALL {
        let function = if file.of_tasks() { tasks } else { elements };
        // Not every kernel lets a program wait for the processors' counters.
        let waiting = if file.of_tasks() { &flushing } else { machine };
        let program = iterator(file, function, &places, waiting, &maps)
            .or_else(|_| iterator(file, function, &places, machine, &maps))?;
        let link = match file {
            _ if file.of_tasks() => sys::bpf_link_attach(program.as_fd(), 0, ITERATOR)?,
            File::Cpuinfo | File::Online => {
                sys::bpf_link_iterate(program.as_fd(), &maps.processors, ITERATOR)?
            }
            _ => sys::bpf_link_iterate(program.as_fd(), &maps.one, ITERATOR)?,
        };
        let path = directory.join(file.name());
        sys::bpf_object_pin(link.as_fd(), &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).blame_with("chmod(2)", shown)?;
    }
    sys::bpf_object_pin(maps.members.as_fd(), &directory.join(MEMBERS))?;
    if let Some((function, register)) = sysinfo::hook(&btf, &index) {
        let mut frame = Frame::new();
        sysinfo::program(&mut frame, &places, machine, register);
        let kind = BpfProgramKind::Raw {
            program_type: TRACING,
            attach_type: AFTER,
            btf_id: function,
            sleeps: false,
        };
        // Without it the files are there all the same.
        if let Ok(link) =
            load(frame, kind, &maps).and_then(|program| sys::bpf_link_attach(program.as_fd(), 0, AFTER))
        {
            sys::bpf_object_pin(link.as_fd(), &directory.join(SYSINFO))?;
        }
    }
    Ok(())
}

fn iterator(
    file: File,
    function: u32,
    places: &Places,
    machine: &Machine,
    maps: &Maps,
) -> Result<super::Loaded> {
    let mut frame = Frame::of_iterator();
    file.build(&mut frame, places, machine);
    let sleeps = machine.flush.is_some();
    load(
        frame,
        BpfProgramKind::Raw { program_type: TRACING, attach_type: ITERATOR, btf_id: function, sleeps },
        maps,
    )
}

fn load(frame: Frame, kind: BpfProgramKind, maps: &Maps) -> Result<super::Loaded> {
    let (mut code, named) = frame.asm.finish_with_maps();
    for (at, map) in named {
        let descriptor = maps.get(map).as_fd().as_raw_fd().cast_unsigned();
        code[at] = code[at] & 0xffff_ffff | u64::from(descriptor) << 32;
    }
    Program::new(kind, code).load()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("\n"), [0_i32; 0]);
    }

    #[test]
    fn each_part_of_cpuinfo_is_about_its_processor() {
        let text = "processor\t: 0\nmodel\t: a\n\nprocessor\t: 3\nmodel\t: b\n\nHardware\t: c\n";
        let found: Vec<_> = blocks(text).collect();
        assert_eq!(found, [(0, "processor\t: 0\nmodel\t: a\n\n"), (3, "processor\t: 3\nmodel\t: b\n\n")]);
        let element = element("abc");
        assert_eq!((element.len(), &element[..8]), (4096, [3, 0, 0, 0, b'a', b'b', b'c', 0].as_slice()));
    }
}
