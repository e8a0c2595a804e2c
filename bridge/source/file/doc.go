// Package file follows an audit log on the host and hands its events on: every one, whatever becomes of the file meanwhile.
//
// The log is one path. What is rotated away from it lies beside it, as kube-apiserver names it (audit-2026-11-23T10-00-00.000.log)
// or as logrotate does (audit.log.1), compressed or not. A file is known by its first bytes, which hold the first request's audit
// ID, and not by its inode or its name: so it is found again after a rename, a copy and a compression. Which files are finished is
// remembered by the same token, so that whatever else lies there is read, and no clock and no order of names decides about that.
//
// A log that was deleted or emptied before it was read is a gap: what was in it nobody knows, and it is counted and said.
package file
