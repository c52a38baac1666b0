from fedistill.cli.main import main

main()
