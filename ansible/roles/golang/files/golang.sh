# Go on the PATH of every login shell.
export PATH="$PATH:/usr/local/go/bin:$HOME/go/bin"
