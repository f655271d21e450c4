//! vserver-plan
