pub struct DiskFs;
