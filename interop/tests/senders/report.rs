pub(crate) const NAME: &str = "x";
