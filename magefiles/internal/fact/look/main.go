// Look prints what a machine looks like. This is a placeholder until it does.
package main

func main() {}
