"""``python -m orthanc_al`` is ``orthanc-al``."""

from orthanc_al.cli import main

if __name__ == "__main__":
    main()
