"""orthanc_al: a gateway beside a PACS that scores studies and re-orders the reading worklist."""
