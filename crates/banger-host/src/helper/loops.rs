//! Loop devices (loop(4)): a file as a block device.
//!
//! By ioctl, not by `losetup`: that resolves the path of what it is given once more, which may
//! have become another's by then. What is attached here is the file that was checked.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter};

use super::HelperError;

// <linux/loop.h>
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// How often another may take the device that was free.
const TRIES: usize = 16;

/// `struct loop_config` with its `struct loop_info64`.
#[repr(C)]
#[derive(Debug)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// `LOOP_CTL_GET_FREE`, whose result is what it returns.
struct GetFree;

#[expect(unsafe_code, reason = "rustix wants to know how an ioctl uses its argument")]
// SAFETY: the ioctl takes no argument, and nothing is read behind the pointer.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| rustix::io::Errno::INVAL)
    }
}

/// A loop device. It goes when this is dropped and nothing else uses it.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its number: `/dev/loop3` has 3.
    pub number: u32,
    device: File,
}

impl LoopDevice {
    /// Attaches a file. `name` is what `losetup` shows where there is no path.
    ///
    /// # Errors
    /// The kernel has no loop devices, or none left.
    pub fn attach(file: &File, read_only: bool, name: &str) -> Result<Self, HelperError> {
        let open = |path: &str, write| File::options().read(true).write(write).open(path);
        let control =
            open("/dev/loop-control", true).map_err(HelperError::host("open /dev/loop-control"))?;
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for _ in 0..TRIES {
            let number =
                free(&control).map_err(HelperError::host("find a loop device that is free"))?;
            let path = format!("/dev/loop{number}");
            let device =
                open(&path, !read_only).map_err(HelperError::host(format!("open {path}")))?;
            match configure(&device, file.as_raw_fd(), read_only, name) {
                Ok(()) => return Ok(Self { number, device }),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => last = error,
                Err(error) => {
                    return Err(HelperError::host(format!("attach {name} to {path}"))(error));
                }
            }
        }
        Err(HelperError::host("attach a loop device")(last))
    }

    /// Its size in sectors of 512 bytes.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn sectors(&self) -> Result<u64, HelperError> {
        use std::io::Seek as _;
        let end = (&self.device).seek(io::SeekFrom::End(0));
        Ok(end.map_err(HelperError::host(format!("measure /dev/loop{}", self.number)))? / 512)
    }
}

#[expect(unsafe_code, reason = "ioctl(2)")]
fn free(control: &File) -> io::Result<u32> {
    // SAFETY: the ioctl is one of loop-control's, and `GetFree` describes it.
    Ok(unsafe { rustix::ioctl::ioctl(control, GetFree) }?)
}

#[expect(unsafe_code, reason = "ioctl(2)")]
fn configure(device: &File, file: RawFd, read_only: bool, name: &str) -> io::Result<()> {
    let mut file_name = [0; 64];
    // The last byte stays zero.
    file_name.iter_mut().zip(name.bytes().take(63)).for_each(|(to, from)| *to = from);
    let flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let config = LoopConfig {
        fd: u32::try_from(file).map_err(io::Error::other)?,
        block_size: 0,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name,
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: `LoopConfig` has the layout of `struct loop_config`, which the kernel only reads.
    let setter = unsafe { Setter::<LOOP_CONFIGURE, LoopConfig>::new(config) };
    // SAFETY: the ioctl is a loop device's, and `Setter` describes it.
    Ok(unsafe { rustix::ioctl::ioctl(device, setter) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(std::mem::offset_of!(LoopConfig, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(LoopConfig, file_name), 8 + 56);
    }
}
