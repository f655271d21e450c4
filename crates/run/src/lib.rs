//! vserver-run
