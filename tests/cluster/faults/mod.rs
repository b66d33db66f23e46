//! What happens when something fails: processes killed, disks full, memory, locks or connections
//! used up, and statements interrupted at any point.

mod crashes;
mod disk;
mod interrupts;
mod limits;
mod out_of_memory;
mod passing;
mod sessions;
