//! vserver-host
