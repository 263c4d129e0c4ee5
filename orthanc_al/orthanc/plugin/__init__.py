# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs inside Orthanc: one file, under the AGPL-3.0-or-later, that needs the standard library alone."""
