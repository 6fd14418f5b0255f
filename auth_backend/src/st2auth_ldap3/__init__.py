"""StackStorm sign-in against Active Directory and other LDAP directories, on ldap3."""

from st2auth_ldap3.backend import Ldap3AuthenticationBackend

__all__ = ["Ldap3AuthenticationBackend"]
__version__ = "1.0.0"
