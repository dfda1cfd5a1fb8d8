"""What a plug-in author imports: domains, tasks, data modules, optimisers, extension points."""
