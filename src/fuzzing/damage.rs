pub fn damage(_data: &[u8]) {}
