"""Pre-boot provisioning: a base image becomes ready images, before their first boot."""
