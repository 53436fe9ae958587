"""The real server's tests: a package, so that its helpers' names cannot clash with another folder's."""
