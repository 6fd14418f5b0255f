"""The runner behind `bin/st2ha`: the pack's own actions, sensors and workflows, with no StackStorm.

It reads the metadata, configuration and entry files that StackStorm reads, and keeps to StackStorm's contract
(how parameters, defaults, results and datastore names come about). Nothing here imports StackStorm.
"""

#: What stands in the place of a secret, here and in StackStorm.
MASK = "********"
