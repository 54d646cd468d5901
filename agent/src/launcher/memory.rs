//! Keeps small what there are many of: launchers and built-in executors.
//!
//! An allocator touches a few pages of each of its large regions. Where the kernel puts a huge page of
//! 2 MiB under each first touch, an idle executor takes twice the memory it needs. So the agent does
//! without huge pages, which whatever it executes inherits, and those of them that are tasks' own
//! programs are given them back.

#![expect(unsafe_code, reason = "advice on memory that others hold has no safe form")]

use std::fs;

use rustix::thread::disable_transparent_huge_pages;

/// Takes no huge pages from here on, in this process and in those that come of it. What memory it has
/// already stays as it is, so an agent's process calls this first of all.
pub fn stay_small() {
    // A kernel that has none has nothing to be told.
    let _ = disable_transparent_huge_pages(true);
}

/// Gives huge pages back to this process and to what it executes, but to no memory that [`mark_small`] has seen.
pub(crate) fn allow_large() {
    let _ = disable_transparent_huge_pages(false);
}

/// Has the memory that this process has, and that of those that are forked from it, take no huge pages whatever is
/// allowed later on.
pub(super) fn mark_small() {
    for (start, length) in anonymous() {
        // SAFETY: this advice changes how memory is backed and never what is in it; a range that is
        // not there any more is an error that is of no interest.
        let _ = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_NOHUGEPAGE) };
    }
}

/// The ranges of this process's memory that no file is behind.
fn anonymous() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        // After it: rights, offset, device, and the number of the file.
        if fields.nth(3)? != "0" {
            return None;
        }
        let (start, end) =
            (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end - start))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_there_takes_no_huge_pages_and_what_comes_of_this_may() {
        let held = vec![1_u8; 8 << 20];
        stay_small();
        mark_small();
        allow_large();
        let at = format!("{:x}", held.as_ptr() as usize & !0xfff);
        let smaps = fs::read_to_string("/proc/self/smaps").expect("it can be read");
        let inside = smaps.split_once(&at).expect("the buffer starts a range of its own").1;
        let flags =
            inside.lines().find(|line| line.starts_with("VmFlags:")).expect("each has some");
        assert!(flags.contains(" nh"), "{flags}");
        let status = fs::read_to_string("/proc/self/status").expect("it can be read");
        assert!(status.contains("THP_enabled:\t1"), "{status}");
    }
}
