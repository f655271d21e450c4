//! The guest's control groups, and the limits that stand in them.

use vserver_kernel::Fault;
use vserver_kernel::cgroup::Group as KernelGroup;
use vserver_plan::limits::translate::{Failing, Write};
use vserver_plan::step::Group;

use crate::failure::{Doing, Failure};
use crate::site::{self, Groups, Site};
use crate::start::in_one_line;
use crate::undo::Undo;

/// Makes the groups. The limits are written before the group inside is made, which begins with what is above it.
pub fn make_group(
    site: &mut Site<'_>,
    group: &Group,
    undo: &mut Undo,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let path = &group.path;
    let hierarchies = site::hierarchies().doing(|| "look for control groups".into())?;
    let outer = hierarchies.group(path);
    let inner = outer.child("guest");
    let back = hierarchies.group(path);
    let shared = group.shared.as_ref().map(|shared| hierarchies.group(&shared.path));
    let back_shared = shared.clone();
    undo.did(format!("control group {path}"), move || {
        back.kill()?;
        back.remove()?;
        back_shared.iter().for_each(KernelGroup::remove_unused);
        Ok(())
    });
    if let (Some(kernel), Some(wanted)) = (&shared, &group.shared)
        && !kernel.exists()
    {
        // Whoever makes it sets its limits; guests that come later find them.
        kernel.create().doing(|| format!("make the control group {}", wanted.path))?;
        apply(kernel, &wanted.limits, say)?;
    }
    // Those above it are made as well.
    if !group.limits.is_empty() || !group.inherit.is_empty() {
        outer.create().doing(|| format!("make the control group {path}"))?;
        for file in &group.inherit {
            let above = hierarchies.group(outer.name().parent().unwrap_or(outer.name()));
            copy(&above, &outer, &file.value).map_err(|failure| failure.place(&file.file, file.line))?;
        }
        apply(&outer, &group.limits, say)?;
    }
    inner.create().doing(|| format!("make the control group {path}/guest"))?;
    for file in &group.inherit {
        copy(&outer, &inner, &file.value).map_err(|failure| failure.place(&file.file, file.line))?;
    }
    let inside: Vec<Write> = group.limits.iter().filter(|write| write.also_inside()).cloned().collect();
    apply(&inner, &inside, say)?;
    if let Some(id) = group.delegate {
        inner
            .chown_delegated(id, id)
            .doing(|| format!("give the control group {path}/guest to the guest"))?;
    }
    let open = || format!("open the control group {path}/guest");
    let (directory, doors) = (inner.v2_dir_fd().doing(open)?, inner.doors().doing(open)?);
    site.group = Some(Groups { outer, inner, directory, doors });
    Ok(())
}

/// Writes limits, in order.
fn apply(group: &KernelGroup, limits: &[Write], say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    for limit in limits {
        let Err(fault) = group.write(&limit.file, &limit.value) else { continue };
        let failure = refused(group, limit, fault);
        match limit.failing {
            Failing::Fatal => return Err(failure),
            Failing::Told => say(&format!(
                "warning: {}:{}: {}",
                limit.place.file.display(),
                limit.place.line,
                in_one_line(&failure)
            )),
        }
    }
    Ok(())
}

/// Why the kernel does not take a limit.
fn refused(group: &KernelGroup, limit: &Write, fault: Fault) -> Failure {
    let hint = match fault.errno() {
        Some(libc::ENOENT) => {
            Some("this kernel has no such file: a misspelt name, or an option that it was built without")
        }
        Some(libc::EINVAL | libc::ERANGE) => Some("the kernel does not take this value"),
        Some(libc::EBUSY) => Some("more than this is in use already"),
        _ => None,
    };
    let what = format!(
        "cannot set {} to {} for the control group {}",
        limit.file,
        limit.value,
        group.name().display()
    );
    let failure = Failure::new(what).because(fault).place(&limit.place.file, limit.place.line);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// `inherit`: what the group above says, a new one begins with.
fn copy(above: &KernelGroup, group: &KernelGroup, file: &str) -> Result<(), Failure> {
    let what = || {
        format!("copy {file} from the control group {} to {}", above.name().display(), group.name().display())
    };
    let value = above.read(file).doing(what)?;
    let value = value.trim_ascii();
    // An empty one means all of those above.
    if value.is_empty() || group.read(file).doing(what)?.trim_ascii() == value {
        return Ok(());
    }
    group.write(file, value).doing(what)
}
