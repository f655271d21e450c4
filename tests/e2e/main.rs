//! End-to-end tests: what an administrator does, with the real program on the real kernel.
//!
//! Names begin with the row of the acceptance table that a trial shows. How trials live: the harness's documentation.

mod address_escape;
mod adoption;
mod adversity;
mod boot;
mod building;
mod consoles;
mod death;
mod escape;
mod fuzzed;
mod harness_itself;
mod hide;
mod hooks;
mod hostile;
mod install;
mod instructions;
mod limits;
mod living;
mod mounts;
mod moving;
mod netcontexts;
mod network_building;
mod network_interfaces;
mod network_namespaces;
mod network_setups;
mod published;
mod rights;
mod servers;
mod sockets;
mod styles;
mod sudden;
mod systemd;
mod tools;
mod views;

use std::process::ExitCode;

fn main() -> ExitCode {
    let specs = [
        harness_itself::specs(),
        install::specs(),
        instructions::specs(),
        boot::specs(),
        building::specs(),
        consoles::specs(),
        living::specs(),
        limits::specs(),
        moving::specs(),
        rights::specs(),
        mounts::specs(),
        hide::specs(),
        hooks::specs(),
        adoption::specs(),
        adversity::specs(),
        styles::specs(),
        systemd::specs(),
        escape::specs(),
        published::specs(),
        hostile::specs(),
        fuzzed::specs(),
        death::specs(),
        sudden::specs(),
        tools::specs(),
        views::specs(),
        sockets::specs(),
        network_building::specs(),
        servers::specs(),
        network_interfaces::specs(),
        network_namespaces::specs(),
        address_escape::specs(),
        network_setups::specs(),
        netcontexts::specs(),
    ];
    vserver_e2e::run(&specs.into_iter().flatten().collect::<Vec<_>>())
}
