"""The engines that recon runs on, each in a module of its own; `recon.engine` picks one."""
