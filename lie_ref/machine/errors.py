"""The one exception for input that cannot be used: the command line turns it into one line and exit status 2."""


class InputError(ValueError):
    """A file, folder or option that cannot be used; the message is one line naming what, where and what was expected.

    >>> str(InputError("list_attr_celeba.txt:7: expected 40 values, found 39"))
    'list_attr_celeba.txt:7: expected 40 values, found 39'
    """
