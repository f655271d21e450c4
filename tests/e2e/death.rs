use vserver_e2e::Spec;
pub fn specs() -> Vec<Spec> {
    vec![]
}
