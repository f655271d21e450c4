//! vserver-config
