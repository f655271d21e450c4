//! vserver-kernel
