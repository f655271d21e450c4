//! BPF classifiers on packets of a device, as it was done before Linux 6.6: the qdisc `clsact` and a filter.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};

use super::Netlink;
use crate::Result;

/// `TC_H_CLSACT`, and `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS` below it.
const CLSACT: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff2 };
const EGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff3 };
/// `ETH_P_ALL`
const EVERY_PROTOCOL: u16 = 3;

impl Netlink {
    /// Runs a classifier on what comes in by a device, or goes out, in place of one with the same priority. The device
    /// gets the qdisc `clsact`, which stays.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOENT`: this kernel has no `sch_ingress` or `cls_bpf`; or what else the kernel says.
    pub fn classify(
        &mut self,
        device: u32,
        comes_in: bool,
        priority: u16,
        program: BorrowedFd<'_>,
    ) -> Result<()> {
        let object = format!("classifier of network device number {device}");
        let message = |parent, handle, info, attributes| {
            // The library counts devices with a sign, as the kernel does here.
            let index = device.cast_signed();
            TcMessage::from_parts(TcHeader { index, parent, handle, info, ..TcHeader::default() }, attributes)
        };
        let handle = TcHandle { major: 0xffff, minor: 0 };
        let qdisc = message(CLSACT, handle, 0, vec![TcAttribute::Kind("clsact".to_owned())]);
        match self.command(RouteNetlinkMessage::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => {}
            // It is there, or its older sibling `ingress`, which has the same place for filters of what comes in.
            Err(refused) if refused.source.raw_os_error() == Some(libc::EEXIST) => {}
            Err(refused) => return Err(refused.on("rtnetlink(7)", &object)),
        }
        let options = [
            TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
            TcFilterBpfOption::ProgName("vserver".to_owned()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        let options = options.into_iter().map(TcOption::Bpf).collect();
        let filter = message(
            if comes_in { INGRESS } else { EGRESS },
            TcHandle { major: 0, minor: 1 },
            u32::from(priority) << 16 | u32::from(EVERY_PROTOCOL.to_be()),
            vec![TcAttribute::Kind("bpf".to_owned()), TcAttribute::Options(options)],
        );
        self.command(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|refused| refused.on("rtnetlink(7)", &object))
    }
}
