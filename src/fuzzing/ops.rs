pub fn ops(_data: &[u8]) {}
