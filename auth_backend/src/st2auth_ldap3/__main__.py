"""`python -m st2auth_ldap3 config ...`"""

import logging
import sys

from st2auth_ldap3.generate import main

logging.basicConfig(level=logging.INFO, format="        %(message)s", stream=sys.stdout)
sys.exit(main(sys.argv[1:]))
