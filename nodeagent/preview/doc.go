// Package preview says what a change would do before it is made: the unified diff of each file, the flags, what is restarted, and for
// how long an API is away. It computes nothing itself: what it shows is the [txn.Change] that would be carried out, byte for byte.
//
// [Offline] has the strategies make that change from a copy of a node's file, without a host. [Of] shows a change in full, to
// whoever gave the files; [Guarded] shows it to whoever may read a status: within bounds, of unchanged lines only the names of
// settings, and of credentials nothing.
package preview
