//! The programs: one file each, with its table entry and the function behind it.

pub mod chbind;
pub mod generator;
pub mod lcap;
pub mod lsxid;
pub mod naddress;
pub mod nattribute;
pub mod ncontext;
pub mod start_vservers;
pub mod util_vserver;
pub mod vkill;
pub mod vlogin;
pub mod vmount;
pub mod vprocunhide;
pub mod vps;
pub mod vrootdevices;
pub mod vserver;
pub mod vserver_info;
pub mod vserver_stat;
pub mod vservers;
pub mod vsomething;
pub mod vspace;
pub mod vsysvwrapper;
pub mod vuname;
pub mod vwait;
