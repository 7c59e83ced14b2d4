pub struct Map;
